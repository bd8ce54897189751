"""How much faster a model runs on more threads. Knows rounds and ratios; not how processes are started.

Each count of threads has a process of its own, and all of them are open at a time: a round takes a block of each, one
after the other, so that what a round has in common with the next one's does not pass for scaling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoprune.bench.bench import AnyBench
from autoprune.bench.contention import quiet
from autoprune.core.clock import Clock
from autoprune.core.measurement import Block
from autoprune.measure import estimator
from autoprune.measure.estimator import FEWEST, Interval, Pair
from autoprune.measure.limits import Limits

#: What the model is called in each bench.
MODEL: Final = "model"
#: Rounds at most, and seconds.
_ROUNDS: Final = 60
_CAP_S: Final = 30.0


@dataclass(frozen=True)
class Scaled:
    """A model on so many threads.

    Attributes:
        threads: Of its process.
        latency: Seconds of a run by the wall.
        speedup: How many times as fast as on the fewest threads.
        efficiency: The speedup as a share of how many times as many threads there are.
        calm: Whether enough rounds were quiet ones; else all count.
    """

    threads: int
    latency: Interval
    speedup: Interval
    efficiency: Interval
    calm: bool


def scaling(benches: Mapping[int, AnyBench], limits: Limits, clock: Clock, seed: int) -> list[Scaled]:
    """Measure a model that is ready under the name `MODEL` on several counts of threads, the fewest first.

    Args:
        benches: By the count of threads.
        limits: How precise is enough.
        clock: Tells seconds.
        seed: Of the order within each round.
    """
    rng, counts = np.random.default_rng(seed), sorted(benches)
    rounds: list[dict[int, Block]] = []
    start = clock.wall()
    while True:
        taken = {}
        for count in rng.permutation(counts).tolist():
            draw = int(rng.integers(2**31))
            ((taken[count],),) = benches[count].rounds([MODEL], 1, limits.block_s, limits.block_runs, draw)
        rounds.append(taken)
        if len(rounds) < FEWEST:
            continue
        found = [_scaled(count, counts[0], rounds, rng) for count in counts]
        precise = all(each.efficiency.half_width <= limits.near and each.calm for each in found)
        if precise or len(rounds) >= _ROUNDS or clock.wall() - start > _CAP_S:
            return found


def _scaled(count: int, fewest: int, rounds: Sequence[Mapping[int, Block]], rng: np.random.Generator) -> Scaled:
    pairs = [Pair(taken[count], taken[fewest]) for taken in rounds]
    calm = [pair for pair in pairs if quiet(pair.candidate, single=False) and quiet(pair.reference, single=False)]
    enough = len(calm) >= FEWEST
    known = calm if enough else pairs
    seconds = np.sort(np.array([estimator.median(pair.candidate) for pair in known]))
    low, high = estimator.order_interval(seconds)
    ratio = estimator.ratio([known], rng)
    speedup = Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    more = count / fewest
    efficiency = Interval(speedup.value / more, speedup.low / more, speedup.high / more)
    return Scaled(count, Interval(float(np.median(seconds)), low, high), speedup, efficiency, enough)
