"""Which processors a process runs on. Knows what Linux says of them; elsewhere nothing is pinned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from autoprune.errors import UsageError

_CPUS: Final = Path("/sys/devices/system/cpu")


def processors(usable: set[int], cpus: Path = _CPUS) -> list[int]:
    """Usable processors in the order in which threads should take them: one of each core, then their siblings."""
    cores: dict[str, int] = {}
    places = {}
    for number in sorted(usable):
        try:
            core = (cpus / f"cpu{number}" / "topology" / "thread_siblings_list").read_text().strip()
        except OSError:
            core = str(number)
        places[number] = cores[core] = cores.get(core, -1) + 1
    return sorted(usable, key=lambda number: (places[number], number))


@contextmanager
def pinned(count: int) -> Iterator[tuple[int, ...]]:
    """Processes that this thread starts meanwhile run on so many processors; those of other threads, where they like.

    Yields:
        Their numbers; none where the system pins nothing.

    Raises:
        UsageError: there are not so many.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    if count > len(usable):
        raise UsageError(
            expected=f"at most {len(usable)} threads, a processor for each",
            received=str(count),
            cure="name fewer, or measure on a larger machine",
        )
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    chosen = tuple(processors(usable)[:count])
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, usable)
