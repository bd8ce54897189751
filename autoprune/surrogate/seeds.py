"""The plans with which a search begins: what a forecast alone holds to be the front. Knows no evidence."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoprune.core.aim import Aim
from autoprune.core.forecast import Forecast
from autoprune.core.space import SearchSpace
from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Evidence
from autoprune.surrogate.knapsack import Levels

#: One of so many is of other sensitivities than those that ablations found.
_DRAWN: Final = 4


def seeds(forecast: Forecast, aim: Aim, space: SearchSpace, seed: int, count: int) -> list[Levels]:
    """At most `count` plans evenly over the cost of the predicted front within the budget, the largest first.

    Some are of fronts under other sensitivities, drawn around those of the ablations.
    """
    belief, rng = Belief(forecast, Evidence(aim, ()), space), np.random.default_rng(seed)
    drawn = count // _DRAWN
    found = _spread(belief, belief.front(), count - drawn)
    for k in range(drawn):
        plans = _spread(belief, belief.front(rng), 2 * drawn + 1)
        found.extend(plans[2 * k + 1 : 2 * k + 2])
    return list(dict.fromkeys(found))


def _spread(belief: Belief, plans: list[Levels], count: int) -> list[Levels]:
    """So many of the plans, evenly over the logarithm of their cost, the most expensive one first."""
    if not plans:
        return []
    cost = np.log(belief.base_cost(np.array(plans)))
    wanted = np.linspace(cost.max(), cost.min(), count)
    return list(dict.fromkeys(plans[int(np.abs(cost - each).argmin())] for each in wanted))
