"""Which proposals are not worth measuring. Knows forecasts and what was evaluated; not who proposed.

A plan is dismissed if even its optimistic prediction is beyond the budget, or cannot enter the front.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from autoprune.core.forecast import Forecast
from autoprune.core.goal import SearchGoal
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from autoprune.search_spaces.space import SearchSpace
from autoprune.surrogate.observations import Observation, Observations
from autoprune.surrogate.surrogate import Surrogate

#: Fewer evaluated plans say too little of how far a forecast can be trusted.
_FEWEST: Final = 12
#: Two-sided 95 % of a normal distribution.
_SIGMAS: Final = 1.96


class Screen:
    """Asked for each proposal; what it believes is made anew when something was told."""

    def __init__(self, forecast: Forecast, goal: SearchGoal, space: SearchSpace) -> None:
        self._forecast, self._goal, self._space = forecast, goal, space
        self._smallest = space.places(space.smallest())
        self._rows: dict[int, Observation] = {}
        self._surrogate: Surrogate | None = None
        self._count = -1

    def reason(self, plan: Plan, trials: Collection[Trial]) -> str:
        """Why a plan is dismissed; empty where it is worth a measurement."""
        if len(trials) < _FEWEST:
            return ""
        surrogate = self._fitted(trials)
        plans = np.array([self._space.places(plan), self._smallest])
        for cost_estimate in (surrogate.cost_estimate, *surrogate.cost_limits):
            value, doubt = cost_estimate.expected(plans)
            cost, least = value * np.exp(-_SIGMAS * doubt)
            # Where not even the smallest plan has room, the budget tells none apart.
            if cost > cost_estimate.room >= least:
                return (
                    f"its {cost_estimate.metric or 'cost'} is expected to be {cost:.0%} of the dense model's at least; "
                    f"the budget has room for {cost_estimate.room:.0%}"
                )
        if len(self._goal.objectives) > 2:
            return ""  # worse in these two, it may be better in another one
        found = surrogate.expected(plans[:1])
        cost = found.cost[0] * np.exp(-_SIGMAS * found.cost_doubt[0])
        loss_increase = max(float(found.loss_increase[0] - _SIGMAS * found.loss_increase_doubt[0]), 0.0)
        drop = float(surrogate.quality_drop(np.array([loss_increase]))[0]) - surrogate.scatter
        observations = surrogate.observations
        better = (
            observations.feasible
            & (observations.cost <= cost)
            & (np.maximum(observations.loss_increase, 0.0) < loss_increase)
        )
        better &= observations.quality_drop <= drop
        if better.any():
            return (
                f"trial {observations.seen[int(np.flatnonzero(better)[0])].number} is expected to beat it in every way"
            )
        return ""

    def _fitted(self, trials: Collection[Trial]) -> Surrogate:
        if self._surrogate is None or self._count != len(trials):
            for trial in trials:
                if trial.number not in self._rows and trial.state is TrialState.COMPLETE:
                    values = tuple(trial.value(metric.name) for metric in self._goal.objectives)
                    proxy_value = trial.value(self._goal.proxy_metric) if self._goal.proxy_metric else None
                    self._rows[trial.number] = Observation(
                        trial.number, self._space.places(trial.plan), values, proxy_value, trial.excesses
                    )
            seen = tuple(row for _, row in sorted(self._rows.items()))
            self._surrogate = Surrogate(self._forecast, Observations(self._goal, seen), self._space)
            self._count = len(trials)
        return self._surrogate
