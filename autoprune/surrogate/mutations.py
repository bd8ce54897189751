"""Small changes of a plan. Knows levels and a cost of plans; not what a change does to quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Floats, Ints

#: Pairs of levels that are switched at most.
_PAIRS: Final = 3

Cost = Callable[[Ints], Floats]


def switched(plan: Levels, sizes: Sequence[int], rng: np.random.Generator) -> Levels:
    """Pairs of levels switched, one up and one down, so that the size stays about the same: min(U{1..3}, U{1..3})
    pairs, as in EvoPress (Sieberling et al. 2024)."""
    levels = list(plan)
    for _ in range(min(rng.integers(1, _PAIRS + 1, 2))):
        ups = [v for v, size in enumerate(sizes) if levels[v] < size - 1]
        downs = [v for v in range(len(sizes)) if levels[v] > 0]
        if ups:
            up = int(rng.choice(ups))
            levels[up] += 1
            downs = [v for v in downs if v != up]
        if downs:
            levels[int(rng.choice(downs))] -= 1
    return tuple(levels)


def repaired(plan: Levels, target: float, sizes: Sequence[int], cost: Cost, rng: np.random.Generator) -> Levels:
    """The plan with random levels lowered until its cost is within the target, then raised while it stays there.

    The smallest plan where nothing is within it.
    """
    levels = np.array(plan)
    while cost(levels[None])[0] > target and levels.any():
        levels[rng.choice(np.flatnonzero(levels))] -= 1
    for v in rng.permutation(len(sizes)):
        if levels[v] < sizes[v] - 1:
            levels[v] += 1
            if cost(levels[None])[0] > target:
                levels[v] -= 1
    return tuple(int(level) for level in levels)


def neighbours(plan: Levels, sizes: Sequence[int], most: int, rng: np.random.Generator) -> list[Levels]:
    """Plans that differ by one level of one variable, or by one up and one down; of more than `most`, some."""
    singles = []
    for v, size in enumerate(sizes):
        singles += [(v, step) for step in (-1, 1) if 0 <= plan[v] + step < size]
    ups, downs = [s for s in singles if s[1] > 0], [s for s in singles if s[1] < 0]
    moves = [[single] for single in singles] + [[up, down] for up in ups for down in downs if up[0] != down[0]]
    return [_moved(plan, moves[k]) for k in rng.permutation(len(moves))[:most]]


def _moved(plan: Levels, steps: Sequence[tuple[int, int]]) -> Levels:
    levels = list(plan)
    for v, step in steps:
        levels[v] += step
    return tuple(levels)
