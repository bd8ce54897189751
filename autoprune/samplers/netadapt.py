"""NetAdapt: step by step, the one cut that costs least quality for what it saves (Yang et al. 2018, algorithm 1).

Each step must save a part of the dense cost, less with every step (dR_i = step x R_0 x decay^(i - 1)). For each
variable the fewest levels that save so much, by the predictor, make one candidate; of the candidates as evaluated, the
one of least loss increase for its saving is the next plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext, number
from autoprune.samplers._planned import PlannedSampler
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
#: Steps lead down from the dense model, through plans beyond the budget.
SCREEN: Final = False
OPTIONS: Final = {"step": "0.1", "decay": "0.96"}
#: Steps that save less end it.
_LEAST: Final = 1e-3
_NAME: Final = "netadapt"


class NetAdapt(PlannedSampler):
    """step: what the first step must save, as a share of the dense cost; decay: of that, from step to step.

    The paper's step of 0.025 needs some hundred candidates before a budget of two thirds is reached.
    """

    def __init__(self, context: SamplerContext, step: float, decay: float) -> None:
        super().__init__(context)
        self._step, self._decay = step, decay

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        # Steps are taken by the forecast as it was made: one that is refitted would go another way each time.
        surrogate = Surrogate(self.context.required_forecast, Observations(observations.goal, ()), self.context.space)
        loss_increase = {
            each.levels: float(each_increase)
            for each, each_increase in zip(observations.seen, observations.loss_increase, strict=True)
        }
        current = tuple(size - 1 for size in self.context.sizes)
        saving = self._step
        while saving >= _LEAST:
            candidates = self._candidates(surrogate, current, saving)
            if not candidates:  # no variable alone can save so much
                saving /= 2
                continue
            missing = [plan for plan in candidates if plan not in observations.taken]
            if missing:
                return [(plan, _NAME) for plan in missing]
            known = [plan for plan in candidates if plan in loss_increase]
            if not known:
                return []  # all are out, failed or dismissed
            cost = surrogate.cost_estimate.quick(np.array([current, *known]))
            lost = np.array([loss_increase[plan] for plan in known]) - loss_increase.get(current, 0.0)
            current = known[int((lost / (cost[0] - cost[1:])).argmin())]
            saving *= self._decay
        return []

    def _candidates(self, surrogate: Surrogate, current: Levels, saving: float) -> list[Levels]:
        """For each variable the fewest levels less that save so much; those that cannot are left out."""
        found = []
        wanted = surrogate.cost_estimate.quick(np.array([current]))[0] - saving
        for v, level in enumerate(current):
            if not level:
                continue
            lower = np.array([(*current[:v], each, *current[v + 1 :]) for each in range(level)])
            if (enough := np.flatnonzero(surrogate.cost_estimate.quick(lower) <= wanted)).size:
                found.append(surrogate.settled(tuple(int(each) for each in lower[enough[-1]])))
        return list(dict.fromkeys(found))


def create(context: SamplerContext) -> BaseSampler:
    return NetAdapt(context, number(context.options, "step", _LEAST, 1), number(context.options, "decay", 0.01, 1))
