"""Energy counters. Knows the contract; each file beside this one is one kind of counter.

A meter is a module with `create() -> Meter | None`, which is None where this machine has no such counter that may be
read; nothing is guessed. A profiler names the meter of its device in `Capabilities.meter`, a user another one by
`--meter`; what follows a colon there is passed to `create`.
"""

from __future__ import annotations

from typing import Protocol

from autoprune import registry
from autoprune.errors import DeviceError


class Meter(Protocol):
    """A counter of joules."""

    def read(self) -> float:
        """Joules since an arbitrary moment."""
        ...


def open_meter(declared: str, asked: str = "") -> Meter | None:
    """The meter that was asked for, else the one that a profiler declares; None where this machine has none of that.

    Args:
        declared: By name; empty for none.
        asked: The same of what must be there, with an argument after a colon where it takes one.

    Raises:
        UsageError: nobody registered a meter of that name.
        DeviceError: this machine has not what was asked for.
    """
    name, _, argument = (asked or declared).partition(":")
    if not name:
        return None
    found: Meter | None = registry.load("meters", name).create(*[argument] * bool(argument))
    if asked and found is None:
        raise DeviceError(
            expected=f"a counter of joules '{asked}' that may be read where it is measured",
            received="none",
            cure="leave out --meter, or give another one: " + ", ".join(registry.names("meters")),
        )
    return found
