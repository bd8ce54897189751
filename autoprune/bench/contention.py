"""Whether the machine was ours. Knows what Linux says of waiting and stolen time; elsewhere it says nothing.

Sources: `/proc/pressure/cpu` (pressure stall information), `/proc/stat` (time that a hypervisor stole).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autoprune.core.measurement import Block

#: More wall than processor time than this, on one thread, means that somebody else had the processor.
SLOWED: Final = 1.1
#: Shares of a block in which something waited, or a hypervisor was elsewhere, from which on it was not quiet.
PRESSED: Final = 0.2
STOLEN: Final = 0.05


@dataclass(frozen=True)
class Reading:
    """Counters at one moment: microseconds in which something waited; ticks of all processors, and stolen ones."""

    waited_us: float
    ticks: float
    stolen: float


@dataclass(frozen=True)
class Watch:
    """Reads the counters of one machine."""

    pressure: Path = Path("/proc/pressure/cpu")
    stat: Path = Path("/proc/stat")

    def read(self) -> Reading:
        waited, ticks, stolen = 0.0, 0.0, 0.0
        with suppress(OSError, IndexError, ValueError):  # a kernel without pressure stall information
            waited = float(self.pressure.read_text().split("total=")[1].split()[0])
        with suppress(OSError, IndexError, ValueError):  # no Linux
            times = [float(each) for each in self.stat.read_text().splitlines()[0].split()[1:9]]
            ticks, stolen = sum(times), times[7]
        return Reading(waited, ticks, stolen)

    def pressing(self) -> float:
        """The share of the last ten seconds in which something waited for a processor."""
        try:
            return float(self.pressure.read_text().split("avg10=")[1].split()[0]) / 100
        except (OSError, IndexError, ValueError):
            return 0.0


def between(before: Reading, after: Reading, seconds: float) -> tuple[float, float]:
    """(pressure, stolen): shares of an interval, see `Block`."""
    ticks = after.ticks - before.ticks
    pressure = (after.waited_us - before.waited_us) / 1e6 / max(seconds, 1e-9)
    return min(pressure, 1.0), (after.stolen - before.stolen) / ticks if ticks > 0 else 0.0


def quiet(block: Block, *, single: bool) -> bool:
    """Whether a block had its processors to itself.

    single: one thread on a processor, whose waiting shows in its own time; else only the machine can tell. A model that
    waits by itself is not disturbed: then nobody took its processor away.
    """
    if block.throttled or block.stolen > STOLEN:
        return False
    if single and sum(block.wall_s) <= SLOWED * sum(block.cpu_s):
        return True
    return block.pressure <= PRESSED and (not single or block.involuntary_switches == 0)
