"""Statistics of timings, pure functions of blocks. Knows paired ratios, bootstrap intervals and drift; runs nothing.

A shared machine slows down and speeds up by tens of per cent over seconds, without a trace in its own counters. Two
quantities stay honest there: the ratio of a candidate to a reference that ran in the same moment, and how much the
reference itself wanders over a run. A latency is therefore (ratio to the reference) x (typical latency of the
reference); its interval joins the bootstrap interval of the ratio with the range in which the reference was seen, so
it says where the next measurement will fall, not only how well this one was taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autoprune.core.measurement import Block

Floats = NDArray[np.float64]

RESAMPLES: Final = 400
#: More wall than processor time than this, on one thread, means that somebody else had the processor.
CONTENDED: Final = 1.1
_TAIL: Final = 2.5


@dataclass(frozen=True)
class Pair:
    """A block of the candidate and one of the reference, taken one right after the other."""

    candidate: Block
    reference: Block


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width, as a share of the value."""
        return (self.high - self.low) / 2 / self.value


def median(block: Block) -> float:
    """The median wall time of a block's runs, in seconds."""
    return float(np.median(block.wall_s))


def contended(block: Block) -> bool:
    """Whether a single-threaded block had to share its processor."""
    return sum(block.wall_s) > CONTENDED * max(sum(block.cpu_s), 1e-9)


def ratio(rounds: Sequence[Sequence[Pair]], rng: np.random.Generator) -> Interval:
    """The median ratio of candidate to reference.

    rounds: one sequence of pairs a process; processes are resampled first and pairs within them second, so that the
    interval covers what differs from one process to the next.
    """
    logs = [np.array([np.log(median(p.candidate) / median(p.reference)) for p in pairs]) for pairs in rounds if pairs]
    centre = float(np.median(np.concatenate(logs)))
    low, high = np.percentile(bootstrap(logs, rng, np.median), (_TAIL, 100 - _TAIL))
    return Interval(float(np.exp(centre)), float(np.exp(min(low, centre))), float(np.exp(max(high, centre))))


def spread(reference: Sequence[float], typical: float) -> Interval:
    """Where the reference's latency lies: the typical one, and the central 95 % of what was seen."""
    low, high = np.percentile(reference, (_TAIL, 100 - _TAIL))
    return Interval(typical, min(float(low), typical), max(float(high), typical))


def scaled(ratio: Interval, reference: Interval) -> Interval:
    """A latency in seconds from its ratio and the reference's seconds.

    The two are independent, so the distances to the ends of their intervals add in quadrature, on a log scale.
    """
    value = ratio.value * reference.value
    below = math.hypot(math.log(ratio.value / ratio.low), math.log(reference.value / reference.low))
    above = math.hypot(math.log(ratio.high / ratio.value), math.log(reference.high / reference.value))
    return Interval(value, value * math.exp(-below), value * math.exp(above))


def quantile(blocks: Sequence[Block], share: float | None, rng: np.random.Generator) -> Interval:
    """A quantile of single runs, or their mean (`share` None), blocks resampled as a whole."""
    runs = [np.array(block.wall_s) for block in blocks]

    def statistic(values: Floats) -> float:
        return float(np.mean(values) if share is None else np.quantile(values, share))

    drawn = [
        statistic(np.concatenate([runs[k] for k in rng.integers(len(runs), size=len(runs))])) for _ in range(RESAMPLES)
    ]
    value = statistic(np.concatenate(runs))
    low, high = np.percentile(drawn, (_TAIL, 100 - _TAIL))
    return Interval(value, min(float(low), value), max(float(high), value))


def bootstrap(groups: Sequence[Floats], rng: np.random.Generator, statistic: Callable[[Floats], float]) -> Floats:
    """The statistic of `RESAMPLES` two-level resamples: groups with replacement, then values within each."""
    drawn = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        chosen = (groups[g] for g in rng.integers(len(groups), size=len(groups)))
        drawn[k] = statistic(np.concatenate([rng.choice(values, len(values)) for values in chosen]))
    return drawn
