"""The least loss increase for every cost, in one table. Knows terms over few variables each; not what they mean.

A knapsack over (level, cost) as in SPDY (Frantar and Alistarh 2022, algorithm 1: D_l[b] = min_i D_{l-1}[b - t_{l,i}] +
c_{l,i}), but where two variables share a cost, as the widths before and after a layer do, the table is kept for every
level of those that are still needed: dynamic programming over a path of the variables' graph (Dechter 1999). Costs
round up to buckets, so that a plan of a bucket never costs more than the bucket says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Levels = tuple[int, ...]
#: Numbers in one table at most. A space whose graph is denser has some variables held at common ratios instead.
_LARGEST: Final = 4_000_000
_FEWEST_BUCKETS: Final = 128
#: Costs, shares of the dense one's, that are not told apart: where a budget has room for the least one only.
_NARROWEST: Final = 1e-12


@dataclass(frozen=True)
class Part:
    """A table over some variables: their places, ascending, and a value for each combination of their levels."""

    variables: tuple[int, ...]
    values: Floats


@dataclass(frozen=True)
class _Step:
    """One variable that joins the table: `spent` buckets at each combination of it with the frontier; then variables
    that nothing needs any more leave, each with its best level for what is left."""

    variable: int
    frontier: tuple[int, ...]
    spent: Ints
    left: tuple[tuple[int, tuple[int, ...], NDArray[np.int16]], ...]


def best_plans(
    sizes: Sequence[int], costs: Sequence[Part], loss_increases: Sequence[Part], buckets: int, most: float = math.inf
) -> list[Levels]:
    """Plans of least loss increase, one for each cost at which it falls, by ascending cost.

    sizes: levels of each variable; costs, loss_increases: parts that add up, costs at least 0; buckets: into how many
    the range of costs is cut; most: plans above this cost are of no interest."""
    order = _ordered(sizes, costs, loss_increases)
    held: list[int] = []
    while _largest(sizes, order) * _FEWEST_BUCKETS > _LARGEST:
        crowded = max(order, key=lambda step: math.prod(sizes[v] for v in (*step[1], step[0])))
        degree = {v: sum(v in part.variables for part in costs) for v in (*crowded[1], crowded[0])}
        held.append(max(degree, key=lambda v: (degree[v], -v)))
        order = _ordered(sizes, costs, loss_increases, held)
    buckets = min(buckets, max(_LARGEST // _largest(sizes, order), _FEWEST_BUCKETS))
    if not held:
        return _levels(_solved(sizes, costs, loss_increases=loss_increases, order=order, buckets=buckets, most=most))
    found: list[Ints] = []
    for ratio in np.linspace(0, 1, max(sizes[v] for v in held)):
        fixed = {v: round(float(ratio) * (sizes[v] - 1)) for v in held}
        slim = [1 if v in fixed else size for v, size in enumerate(sizes)]
        parts = [[_fixed(part, fixed) for part in group] for group in (costs, loss_increases)]
        spent = sum(float(part.values) for part in parts[0] if not part.variables)
        plans = _solved(slim, parts[0], loss_increases=parts[1], order=order, buckets=buckets, most=most - spent)
        plans[:, list(fixed)] = list(fixed.values())
        found.append(plans)
    return _levels(_undominated(np.concatenate(found), costs, loss_increases))


class Sum:
    """Parts that add up, over `count` variables; called with plans (N, variables), it gives (N,) their sums.

    All tables lie one after the other, so that a plan's values are found by one product and one look: samplers ask for
    thousands of single plans.
    """

    def __init__(self, parts: Sequence[Part], count: int) -> None:
        self._values = np.concatenate([np.zeros(0), *(np.ravel(part.values) for part in parts)])
        self._starts = np.cumsum([0, *(part.values.size for part in parts)])[:-1].astype(float)
        self._strides = np.zeros((count, len(parts)))
        for k, part in enumerate(parts):
            stride = 1
            for v, size in zip(reversed(part.variables), reversed(part.values.shape), strict=True):
                self._strides[v, k] = stride
                stride *= size

    def __call__(self, plans: Ints) -> Floats:
        places = plans.astype(float) @ self._strides + self._starts
        found: Floats = self._values[places.astype(np.int64)].sum(axis=1)
        return found


def _ordered(
    sizes: Sequence[int], costs: Sequence[Part], loss_increases: Sequence[Part], held: Sequence[int] = ()
) -> list[tuple[int, tuple[int, ...]]]:
    """Variables in the order in which they join, each with the frontier that it meets; greedy, smallest table first."""
    near: dict[int, set[int]] = {v: set() for v in range(len(sizes))}
    for part in (*costs, *loss_increases):
        for v in part.variables:
            near[v] |= set(part.variables) - {v} - set(held)
    for v in held:
        near[v] = set()
    waiting, frontier = set(near), tuple[int, ...]()
    order: list[tuple[int, tuple[int, ...]]] = []

    def after(v: int) -> tuple[int, ...]:
        left = waiting - {v}
        return tuple(each for each in (*frontier, v) if near[each] & left)

    while waiting:
        chosen = min(
            waiting,
            key=lambda v: (math.prod(sizes[each] for each in after(v)), -len(near[v].intersection(frontier)), v),
        )
        order.append((chosen, frontier))
        frontier = after(chosen)
        waiting.discard(chosen)
    return order


def _largest(sizes: Sequence[int], order: Sequence[tuple[int, tuple[int, ...]]]) -> int:
    return max(math.prod(sizes[v] for v in (*frontier, joined)) for joined, frontier in order)


def _solved(
    sizes: Sequence[int],
    costs: Sequence[Part],
    loss_increases: Sequence[Part],
    order: Sequence[tuple[int, tuple[int, ...]]],
    buckets: int,
    most: float,
) -> Ints:
    """(N, variables): plans of least loss increase, by ascending cost."""
    costs = [part for part in costs if part.variables]
    least = sum(float(part.values.min()) for part in costs)
    highest = min(sum(float(part.values.max()) for part in costs), most)
    if highest < least:
        return np.zeros((0, len(sizes)), np.int64)
    width = max(highest - least, _NARROWEST) / buckets
    table = np.zeros(buckets + 1, np.float32)
    steps: list[_Step] = []
    seen: set[int] = set()
    for place, (joined, frontier) in enumerate(order):
        axes = (*frontier, joined)
        seen.add(joined)
        ready = [
            [p for p in group if joined in p.variables and seen >= set(p.variables)]
            for group in (costs, loss_increases)
        ]
        cost = _spread(ready[0], axes, sizes, shift=True)
        # What is beyond the last bucket is out of reach, however far; counts of buckets may not overflow.
        spent = np.minimum(np.ceil(cost / width - 1e-6), buckets + 1).astype(np.int64)
        table = _joined(table, spent, _spread(ready[1], axes, sizes, shift=False).astype(np.float32))
        kept = order[place + 1][1] if place + 1 < len(order) else ()
        left = []
        for v in [each for each in axes if each not in kept]:
            axis = axes.index(v)
            axes = tuple(each for each in axes if each != v)
            table, best = _least(table, axis)
            left.append((v, axes, best))
        steps.append(_Step(joined, frontier, spent, tuple(left)))
    fallen = np.flatnonzero(table < np.append(np.float32(np.inf), table[:-1]))
    return _traced(steps, fallen, len(sizes))


def _joined(table: Singles, spent: Ints, loss_increases: Singles) -> Singles:
    """A table (frontier, buckets) with a variable more: (frontier, levels, buckets), each row moved up by what its
    level spends. Row by row, as whole rows are moved many times faster than numbers by their places."""
    buckets = table.shape[-1]
    grown = np.full((*spent.shape, buckets), np.inf, np.float32)
    rows, into = table.reshape(-1, buckets), grown.reshape(-1, buckets)
    levels = spent.shape[-1]
    for k, (shift, more) in enumerate(zip(spent.ravel().tolist(), loss_increases.ravel(), strict=True)):
        if shift < buckets:
            np.add(rows[k // levels, : buckets - shift], more, out=into[k, shift:])
    return grown


def _least(table: Singles, axis: int) -> tuple[Singles, NDArray[np.int16]]:
    """The least along an axis that is not the last one, and where it is; numpy's own `argmin` is slow there."""
    levels = table.transpose(axis, *(k for k in range(table.ndim) if k != axis))
    least, best = levels[0].copy(), np.zeros(levels.shape[1:], np.int16)
    for level in range(1, len(levels)):
        np.copyto(best, level, where=levels[level] < least)
        np.minimum(least, levels[level], out=least)
    return least, best


def _traced(steps: Sequence[_Step], buckets: Ints, count: int) -> Ints:
    """The plans (N, variables) behind buckets of the last table, all at once."""
    levels = np.zeros((count, len(buckets)), np.int64)
    for step in reversed(steps):
        for v, axes, best in reversed(step.left):
            levels[v] = best[(*(levels[each] for each in axes), buckets)]
        buckets = buckets - step.spent[tuple(levels[each] for each in (*step.frontier, step.variable))]
    return levels.T


def _levels(plans: Ints) -> list[Levels]:
    return [tuple(plan) for plan in plans.tolist()]


def _spread(parts: Sequence[Part], axes: Sequence[int], sizes: Sequence[int], *, shift: bool) -> Floats:
    """The sum of parts over the given axes; shift: less the least value of each."""
    found = np.zeros([sizes[v] for v in axes])
    for part in parts:
        values = part.values - part.values.min() if shift else part.values
        places = [axes.index(v) for v in part.variables]
        values = values.transpose(sorted(range(len(places)), key=places.__getitem__))
        found = found + values.reshape([sizes[v] if k in places else 1 for k, v in enumerate(axes)])
    return found


def _fixed(part: Part, fixed: dict[int, int]) -> Part:
    """What is left of a part where some variables are held at a level."""
    places = tuple(fixed.get(v, slice(None)) for v in part.variables)
    return Part(tuple(v for v in part.variables if v not in fixed), part.values[places])


def _undominated(plans: Ints, costs: Sequence[Part], loss_increases: Sequence[Part]) -> Ints:
    """Of plans, by ascending cost, those whose loss increase is less than that of all before."""
    cost, increase = (Sum(parts, plans.shape[1])(plans) for parts in (costs, loss_increases))
    order = np.lexsort((increase, cost))
    least = np.minimum.accumulate(np.append(np.inf, increase[order]))
    found: Ints = plans[order[increase[order] < least[:-1]]]
    return found
