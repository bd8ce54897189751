"""The plans with which a search begins: what a forecast alone holds to be the front. Knows no observations."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoprune.core.forecast import Forecast
from autoprune.core.goal import SearchGoal
from autoprune.search_spaces.space import SearchSpace
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate

#: One of so many is of other sensitivities than those that ablations found.
_DRAWN: Final = 4


def initial_plans(forecast: Forecast, goal: SearchGoal, space: SearchSpace, seed: int, count: int) -> list[Levels]:
    """At most `count` plans evenly over the cost of the predicted front within the budget, the largest first.

    Some are of fronts under other sensitivities, drawn around those of the ablations.
    """
    surrogate, rng = Surrogate(forecast, Observations(goal, ()), space), np.random.default_rng(seed)
    drawn = count // _DRAWN
    found = _spread(surrogate, None, count - drawn)
    for k in range(drawn):
        plans = _spread(surrogate, rng, 2 * drawn + 1)
        found.extend(plans[2 * k + 1 : 2 * k + 2])
    return list(dict.fromkeys(found))


def _spread(surrogate: Surrogate, rng: np.random.Generator | None, count: int) -> list[Levels]:
    """So many plans of a front within all limits, evenly over the logarithm of their cost, the most expensive first."""
    plans = surrogate.front(rng, beyond=1.0)
    if not plans:
        return []
    if surrogate.cost_limits:
        fits = (surrogate.cost_estimate.quick(np.array(plans)) <= surrogate.cost_estimate.room) & (
            surrogate.taken(np.array(plans)) <= 1
        )
        plans = [plan for plan, fit in zip(plans, fits, strict=True) if fit] or plans
    cost = np.log(surrogate.cost_estimate.quick(np.array(plans)))
    wanted = np.linspace(cost.max(), cost.min(), count)
    return list(dict.fromkeys(plans[int(np.abs(cost - each).argmin())] for each in wanted))
