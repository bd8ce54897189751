"""Statistics of timings, pure functions of blocks. Knows paired ratios and their intervals; runs nothing.

A shared machine slows down and speeds up by tens of per cent over seconds, without a trace in its own counters. What
stays honest there is the ratio of a candidate to a reference that ran in the same moment. A latency is therefore (ratio
to the reference) x (the reference's latency in quiet moments), and its interval says how well both are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from autoprune.core.measurement import Block

Floats = NDArray[np.float64]

RESAMPLES: Final = 400
#: Fewer pairs make no interval of their own.
FEWEST: Final = 9
_TAIL: Final = 2.5
_Z: Final = 1.96
#: Of a normal distribution: the standard error of a median in units of that of a mean, and the median of |z|.
_MEDIAN, _HALF_NORMAL = 1.2533, 0.6745
#: What the median distance of few values loses (Croux and Rousseeuw 1992).
_LOST: Final = 0.8
#: Processor and wall time of one thread differ by less than this where nothing waits.
_WAITS: Final = 0.1
#: Which seconds of a run count: those of the wall, or those that the process worked.
Time = Literal["wall", "cpu"]


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


def median(block: Block, time: Time = "wall") -> float:
    """The median seconds of a block's runs."""
    return float(np.median(block.wall_s if time == "wall" else block.cpu_s))


def ratio(
    processes: Sequence[Sequence[Pair]], rng: np.random.Generator, time: Time = "wall", noise: float = 0.0
) -> Interval:
    """The median ratio of candidate to reference, with its 95 % interval.

    Args:
        processes: The pairs that each took. Of one process the interval is the order statistics of its pairs; of
            several, they are resampled first and pairs within them second, so that it covers what differs between
            them.
        rng: Draws the resamples.
        time: Which seconds count.
        noise: Standard deviation of the logarithm of one pair's ratio, as other candidates showed it. Fewer than
            `FEWEST` pairs say little of it themselves; 0 where nothing is known.
    """
    logs = [log_ratios(pairs, time) for pairs in processes if pairs]
    together = np.concatenate(logs)
    centre = float(np.median(together))
    if len(logs) > 1:
        low, high = np.percentile(bootstrap(logs, rng, np.median), (_TAIL, 100 - _TAIL))
    elif noise and len(together) < FEWEST:
        half = _Z * _MEDIAN * max(noise, deviation(together)) / math.sqrt(len(together))
        low, high = centre - half, centre + half
    else:
        low, high = order_interval(np.sort(together))
    return Interval(float(np.exp(centre)), float(np.exp(min(low, centre))), float(np.exp(max(high, centre))))


def log_ratios(pairs: Sequence[Pair], time: Time) -> Floats:
    """(N,) the logarithm of each pair's ratio of candidate to reference."""
    return np.array([np.log(median(p.candidate, time) / median(p.reference, time)) for p in pairs])


def deviation(values: Floats) -> float:
    """A standard deviation that outliers do not move: by the median distance from the median (Hampel 1974), corrected
    for few values."""
    if len(values) < 2:
        return 0.0
    found = float(np.median(np.abs(values - np.median(values)))) / _HALF_NORMAL
    return found * len(values) / (len(values) - _LOST)


def chained(first: Interval, second: Interval) -> Interval:
    """The product of two independent ratios: on a log scale, distances to interval ends add in quadrature."""
    below = math.hypot(math.log(first.value / first.low), math.log(second.value / second.low))
    above = math.hypot(math.log(first.high / first.value), math.log(second.high / second.value))
    value = first.value * second.value
    return Interval(value, value * math.exp(-below), value * math.exp(above))


def agreed(worked: Interval, passed: Interval, *, wall: bool = True) -> Interval:
    """One ratio from processor time, which orders candidates best, and wall time, which is what a budget is about.

    Where the two differ by more than their intervals explain, the model waits for something, and the wall is right.
    Else processor time gives the value. wall: the upper end is that of the wall, too.
    """
    gap = abs(math.log(passed.value / worked.value))
    if gap > max(_WAITS, worked.half_width + passed.half_width):
        return passed
    return Interval(worked.value, worked.low, max(worked.high, passed.high)) if wall else worked


def quantiles(blocks: Sequence[Block], shares: Sequence[float | None], rng: np.random.Generator) -> list[Interval]:
    """Quantiles of single runs, or their mean (None), blocks resampled as a whole.

    Runs are sorted once: a resample is how often each block was drawn, so that its quantiles are found by counting.
    """
    count, sizes = len(blocks), [len(block.wall_s) for block in blocks]
    runs = np.concatenate([block.wall_s for block in blocks])
    order = np.argsort(runs)
    ordered, owner = runs[order], np.repeat(np.arange(count), sizes)[order]
    sums = np.add.reduceat(runs, np.cumsum([0, *sizes[:-1]]))

    def found(times: NDArray[np.int64]) -> list[float]:
        upto = np.cumsum(times[owner])
        return [
            float(times @ sums / upto[-1]) if share is None else _quantile(ordered, upto, share) for share in shares
        ]

    values = found(np.ones(count, np.int64))
    drawn = [found(times) for times in rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)]
    lows, highs = np.percentile(drawn, (_TAIL, 100 - _TAIL), axis=0)
    return [
        Interval(value, min(float(low), value), max(float(high), value))
        for value, low, high in zip(values, lows, highs, strict=True)
    ]


def _quantile(ordered: Floats, upto: NDArray[np.int64], share: float) -> float:
    """Between two values where it lies between them; upto: how many values there are up to and with each."""
    place = share * (int(upto[-1]) - 1)
    below = math.floor(place)
    first, second = ordered[np.searchsorted(upto, [below, min(below + 1, int(upto[-1]) - 1)], side="right")]
    return float(first + (place - below) * (second - first))


def bootstrap(groups: Sequence[Floats], rng: np.random.Generator, statistic: Callable[[Floats], float]) -> Floats:
    """The statistic of `RESAMPLES` two-level resamples: groups with replacement, then values within each."""
    drawn = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        chosen = (groups[g] for g in rng.integers(len(groups), size=len(groups)))
        drawn[k] = statistic(np.concatenate([rng.choice(values, len(values)) for values in chosen]))
    return drawn


def order_interval(ordered: Floats) -> tuple[float, float]:
    """The order statistics between which the median lies with at least 95 % (below 6 values: all that were seen)."""
    count, tail, rank = len(ordered), 0.0, 0
    while tail + math.comb(count, rank) / 2**count <= _TAIL / 100:
        tail += math.comb(count, rank) / 2**count
        rank += 1
    rank = max(rank - 1, 0)
    return float(ordered[rank]), float(ordered[count - 1 - rank])
