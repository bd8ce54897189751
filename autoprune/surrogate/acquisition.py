"""What a plan would add to the front. Knows points in two coordinates, both to be minimised: cost and worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Floats, Ints
from autoprune.surrogate.surrogate import Expected, Surrogate

#: Where the box ends in which volume counts: at the dense model's cost and, in worth, at 20 points below its quality.
_COST, _WORTH = 1.0, 1.0
#: It ends at least so many times as far from dense as the best that is within the budget.
_BEYOND: Final = 1.2
#: Two Fibonacci numbers: points of a lattice over two doubts, and its generator (Sloan and Joe 1994, section 5.2).
_POINTS, _GENERATOR = 34, 21


def box(surrogate: Surrogate) -> float:
    """The worth at which the box ends."""
    worth = surrogate.worth_seen()[surrogate.observations.feasible]
    return max(_WORTH, _BEYOND * float(worth.min())) if len(worth) else _WORTH


def added(
    cost: Floats,
    worth: Floats,
    known_cost: Floats,
    known_worth: Floats,
    known: NDArray[np.bool_] | None = None,
    end: float = _WORTH,
) -> Floats:
    """(N,) the area that each of N points adds to what M known points dominate in the box.

    known (N, M): which of them are known to each point; default: all to all. end: as `box` tells.
    """
    inside = np.flatnonzero((known_cost < _COST) & (known_worth < end))
    inside = inside[np.lexsort((known_worth[inside], known_cost[inside]))]
    edges = np.array([0.0, *known_cost[inside], _COST])
    there = known_worth[inside] if known is None else np.where(known[:, inside], known_worth[inside], end)
    # The best worth that is known of anything that costs no more.
    best = np.minimum.accumulate(np.insert(there, 0, end, axis=-1), axis=-1)
    widths = np.maximum(edges[1:] - np.maximum(edges[:-1], cost[:, None]), 0.0)
    found: Floats = (widths * np.maximum(best - worth[:, None], 0.0)).sum(axis=1)
    return found


def best_seen(surrogate: Surrogate) -> Ints:
    """Places in the observations of what is within the budget and that nothing there beats in both, by ascending
    cost."""
    within = np.flatnonzero(surrogate.observations.feasible)
    cost, worth = surrogate.observations.cost[within], surrogate.worth_seen()[within]
    order = np.lexsort((worth, cost))
    best = np.minimum.accumulate(worth[order])
    found: Ints = within[order[np.append(True, best[1:] < best[:-1])[: len(order)]]]
    return found


def expected(surrogate: Surrogate, plans: Expected) -> Floats:
    """(N,) the area that each plan is expected to add to the front within the budget, over what is not known of its
    cost and loss increase (expected hypervolume improvement, Emmerich et al. 2006; by a lattice of what may be), times
    the chance that it is within every limit. By how much qualities of like loss increase differ is left out: near the
    dense model that is the chance of their samples, and whoever hopes for it looks there again and again."""
    observations, places = surrogate.observations, np.arange(_POINTS)
    known = best_seen(surrogate)
    known_cost, known_worth = observations.cost[known], surrogate.worth_seen()[known]
    sigmas = ndtri((np.stack([places, places * _GENERATOR % _POINTS]) + 0.5) / _POINTS)
    cost = plans.cost * np.exp(sigmas[0][:, None] * plans.cost_doubt)
    worth = surrogate.worth(plans.loss_increase + sigmas[1][:, None] * plans.loss_increase_doubt)
    gain = added(cost.ravel(), worth.ravel(), known_cost, known_worth, end=box(surrogate)).reshape(cost.shape)
    found: Floats = gain.mean(axis=0) * plans.within
    return found


def ranked(surrogate: Surrogate, plans: Sequence[Levels]) -> list[Levels]:
    """Plans, settled, by what they are expected to add, most first; those that add nothing by whether they are within
    the budget, and then by their worth and cost."""
    if not plans:
        return []
    models = list(dict.fromkeys(map(surrogate.settled, plans)))
    found = surrogate.expected(np.array(models))
    order = np.lexsort((found.worth + found.cost, -found.within.round(1), -expected(surrogate, found)))
    return [models[k] for k in order]
