"""What a plan would add to the front. Knows points in two coordinates, both to be minimised: cost and worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Floats
from autoprune.surrogate.knapsack import Levels

#: Where the box ends in which volume counts.
_CORNER = (1.0, 1.0)


def added(cost: Floats, worth: Floats, known_cost: Floats, known_worth: Floats) -> Floats:
    """(N,) the area that each of N points adds to what known points dominate in the box."""
    order = np.lexsort((known_worth, known_cost))
    inside = [k for k in order if known_cost[k] < _CORNER[0] and known_worth[k] < _CORNER[1]]
    edges = np.array([0.0, *known_cost[inside], _CORNER[0]])
    # The best worth that is known of anything that costs no more.
    best = np.minimum.accumulate(np.array([_CORNER[1], *known_worth[inside]]))
    widths = np.maximum(edges[1:] - np.maximum(edges[:-1], cost[:, None]), 0.0)
    found: Floats = (widths * np.maximum(best - worth[:, None], 0.0)).sum(axis=1)
    return found


def volume(cost: Floats, worth: Floats) -> float:
    """The area of the box that points dominate."""
    order = np.lexsort((worth, cost))
    inside = [k for k in order if cost[k] < _CORNER[0] and worth[k] < _CORNER[1]]
    edges = np.array([*cost[inside], _CORNER[0]])
    best = np.minimum.accumulate(worth[inside]) if inside else np.zeros(0)
    return float((np.diff(edges) * (_CORNER[1] - best)).sum())


def chance(belief: Belief, cost: Floats, doubt: Floats) -> Floats:
    """(N,) that a cost turns out to be within the budget, by the logistic approximation of the normal distribution."""
    if not np.isfinite(belief.room):
        return np.ones(len(cost))
    sigmas = np.log(belief.room / cost) / doubt
    return 1 / (1 + np.exp(-1.702 * np.clip(sigmas, -40, 40)))


def ranked(belief: Belief, plans: Sequence[Levels], optimism: float = 0.0) -> list[Levels]:
    """Plans by what they are expected to add to the front within the budget, times the chance that they are within it,
    most first; those that add nothing by their worth.

    optimism: by how many standard deviations less harm is hoped for.
    """
    if not plans:
        return []
    found, evidence = belief.expected(np.array(plans)), belief.evidence
    worth = found.worth if optimism == 0 else belief.worth(found.harm - optimism * found.harm_doubt)
    within = evidence.feasible
    gain = added(found.cost, worth, evidence.cost[within], belief.worth_seen()[within])
    gain *= chance(belief, found.cost, found.cost_doubt)
    return [plans[k] for k in np.lexsort((found.worth + found.cost, -gain))]
