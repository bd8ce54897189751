"""Which proposals are not worth measuring. Knows forecasts and what was evaluated; not who proposed.

A plan is dismissed if even its optimistic prediction is beyond the budget, or cannot enter the front.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from autoprune.core.aim import Aim
from autoprune.core.forecast import Forecast
from autoprune.core.plan import Plan
from autoprune.core.space import SearchSpace
from autoprune.core.trial import Trial, TrialState
from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Evidence, Seen

#: Fewer evaluated plans say too little of how far a forecast can be trusted.
_FEWEST: Final = 12
#: Two-sided 95 % of a normal distribution.
_SIGMAS: Final = 1.96


class Screen:
    """Asked for each proposal; what it believes is made anew when something was told."""

    def __init__(self, forecast: Forecast, aim: Aim, space: SearchSpace) -> None:
        self._forecast, self._aim, self._space = forecast, aim, space
        self._smallest = space.places(space.smallest())
        self._rows: dict[int, Seen] = {}
        self._belief: Belief | None = None
        self._count = -1

    def reason(self, plan: Plan, trials: Collection[Trial]) -> str:
        """Why a plan is dismissed; empty where it is worth a measurement."""
        if len(trials) < _FEWEST:
            return ""
        belief = self._believed(trials)
        plans = np.array([self._space.places(plan), self._smallest])
        for price in (belief.price, *belief.walls):
            value, doubt = price.expected(plans)
            cost, least = value * np.exp(-_SIGMAS * doubt)
            if cost > price.room >= least:  # where not even the smallest plan has room, the budget tells none apart
                return (
                    f"its {price.metric or 'cost'} is expected to be {cost:.0%} of the dense model's at least; "
                    f"the budget has room for {price.room:.0%}"
                )
        if len(self._aim.objectives) > 2:
            return ""  # worse in these two, it may be better in another one
        found = belief.expected(plans[:1])
        cost = found.cost[0] * np.exp(-_SIGMAS * found.cost_doubt[0])
        harm = max(float(found.harm[0] - _SIGMAS * found.harm_doubt[0]), 0.0)
        loss = float(belief.loss(np.array([harm]))[0]) - belief.scatter
        evidence = belief.evidence
        better = evidence.feasible & (evidence.cost <= cost) & (np.maximum(evidence.harm, 0.0) < harm)
        better &= evidence.loss <= loss
        if better.any():
            return f"trial {evidence.seen[int(np.flatnonzero(better)[0])].number} is expected to beat it in every way"
        return ""

    def _believed(self, trials: Collection[Trial]) -> Belief:
        if self._belief is None or self._count != len(trials):
            for trial in trials:
                if trial.number not in self._rows and trial.state is TrialState.COMPLETE:
                    values = tuple(trial.value(metric.name) for metric in self._aim.objectives)
                    graded = trial.value(self._aim.grade) if self._aim.grade else None
                    self._rows[trial.number] = Seen(
                        trial.number, self._space.places(trial.plan), values, graded, trial.excesses
                    )
            seen = tuple(row for _, row in sorted(self._rows.items()))
            self._belief = Belief(self._forecast, Evidence(self._aim, seen), self._space)
            self._count = len(trials)
        return self._belief
