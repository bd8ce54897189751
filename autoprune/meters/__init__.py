"""Energy counters. Knows the contract; each file beside this one is one kind of counter.

A meter is a module with `create() -> Meter | None`, which is None where this machine has no such counter that may be
read; nothing is guessed. A profiler names the meter of its device in `Capabilities.meter`.
"""

from __future__ import annotations

from typing import Protocol

from autoprune import registry


class Meter(Protocol):
    """A counter of joules."""

    def read(self) -> float:
        """Joules since an arbitrary moment."""
        ...


def open_meter(name: str) -> Meter | None:
    """The meter of that name; None where there is none on this machine, or no name.

    Raises:
        UsageError: nobody registered a meter of that name.
    """
    if not name:
        return None
    found: Meter | None = registry.load("meters", name).create()
    return found
