"""The dense model's latency as a run has seen it. Knows its quiet state and its slow hours; runs nothing.

A shared machine changes its speed by tens of per cent without any trace in its counters. Two numbers say so honestly.
*Quiet* is the median over the moments in which nobody disturbed the device, with the interval of that median: a budget
is judged by it. *Slow hours* say how slow the same model was seen, in this run and in earlier ones: that is told beside
the first number, and never mixed into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from autoprune.bench.contention import quiet
from autoprune.core.measurement import Block
from autoprune.measure import estimator
from autoprune.measure.estimator import Interval
from autoprune.measure.history import STEADY, Look, Wander

#: Consecutive blocks whose median counts as one look at the device.
WINDOW: Final = 6
#: Where fewer of the blocks were quiet, what a run saw says nothing of the device.
_UNDISTURBED: Final = 0.8
#: Of all looks, the share that is no slower than the slow hours.
_SLOW: Final = 97.5


@dataclass
class Reference:
    """Every look at the dense model so far.

    Attributes:
        single: Whether the processor time of a block is the work that it does.
        wander: What earlier runs saw.
        windows: The dense model's latency in seconds each time somebody looked at a quiet moment.
        typical: The one that ratios are multiplied with. It changes when `settle` is called and at no other time, so
            that candidates keep the order of their ratios.
    """

    single: bool
    wander: Wander = STEADY
    windows: list[float] = field(default_factory=list)
    typical: float = 0.0
    _opening: float = 0.0
    _first: list[float] = field(default_factory=list)
    _pending: list[float] = field(default_factory=list)
    _looked: int = 0
    _calm: int = 0

    def look(self, blocks: Sequence[Block], size: float = 1.0) -> None:
        """Take in blocks of a model that takes `size` times as long as the dense one; disturbed ones tell nothing."""
        calm = [estimator.median(block) / size for block in blocks if quiet(block, single=self.single)]
        self._looked += len(blocks)
        self._calm += len(calm)
        if not self._first:  # who must know at once takes what there is
            self._first = calm if len(calm) >= WINDOW else [self._undisturbed(block) / size for block in blocks]
            self.windows.append(float(np.median(self._first[:WINDOW])))
            calm = self._first[WINDOW:]
        self._pending += calm
        while len(self._pending) >= WINDOW:
            self.windows.append(float(np.median(self._pending[:WINDOW])))
            del self._pending[:WINDOW]

    def settle(self) -> None:
        """From here the typical latency is that of all looks so far."""
        self.typical = float(np.median(self.windows))
        self._opening = self._opening or self.typical

    @property
    def latency(self) -> Interval:
        """The quiet latency in seconds, with the 95 % interval of a median."""
        seen = self.windows if len(self.windows) >= WINDOW else self._first
        low, high = estimator.order_interval(np.sort(np.array(seen)))
        return Interval(self.typical, min(low, self.typical), max(high, self.typical))

    @property
    def slow(self) -> float:
        """The latency in seconds of the device's slow hours: those of this run, and of earlier ones."""
        seen = float(np.percentile(self.windows, _SLOW))
        return max(seen, self._opening * self.wander.slower, self.latency.high)

    def remembered(self, present: float) -> Look | None:
        """What later runs should know; None where others disturbed most of what was seen.

        Args:
            present: Seconds that a fixed piece of work took when this run began.
        """
        if not self._opening or self._calm < _UNDISTURBED * self._looked:
            return None
        return Look.of(present, np.array(self.windows) / self._opening)

    def _undisturbed(self, block: Block) -> float:
        """Seconds of a run if nobody had taken the processor, as far as that can be told."""
        return estimator.median(block, "cpu" if self.single else "wall")


def scaled(found: Interval, factor: float) -> Interval:
    """An interval in other units."""
    return replace(found, value=found.value * factor, low=found.low * factor, high=found.high * factor)
