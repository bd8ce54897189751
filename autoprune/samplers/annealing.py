"""Simulated annealing: a neighbour is taken if it is better, or worse by luck that fades (Kirkpatrick et al. 1983).

Neighbours have levels switched in pairs and are repaired to the cost that is aimed at, as the predictor tells it. After
some plans the walk begins anew at another cost, from the best plan known for it, so that it covers the front.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext, number, whole_number
from autoprune.samplers._planned import PlannedSampler
from autoprune.samplers.evolution import aimed
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.mutations import repaired, switched
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
OPTIONS: Final = {"walk": "20", "temperature": "0.5"}
_NEIGHBOURS: Final = 8
#: The temperature at the end of a walk, as a share of that at its beginning.
_COLDEST: Final = 0.02
_NAME: Final = "annealing"


class Annealing(PlannedSampler):
    """walk: plans between two beginnings; temperature: at the beginning, as a share of the loss increase where it
    begins."""

    def __init__(self, context: SamplerContext, walk: int, temperature: float) -> None:
        super().__init__(context)
        self._walk, self._temperature = walk, temperature

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        if not observations.seen:
            return
        surrogate = Surrogate(self.context.required_forecast, observations, self.context.space)
        # Which walk a plan belongs to is in its name: what else was evaluated meanwhile is none of its steps.
        walk = number // self._walk
        target = aimed(surrogate, np.random.default_rng([self.context.seed, walk, self._walk]))
        start = self._nearest(observations, target, walk)
        current = self._walked(observations, f"{_NAME} {walk}", start)
        for _ in range(_NEIGHBOURS):
            neighbour = switched(observations.seen[current].levels, self.context.sizes, rng)
            cost = partial(surrogate.pressure, target=target)
            yield repaired(neighbour, target, self.context.sizes, cost, rng), f"{_NAME} {walk}"

    def _nearest(self, observations: Observations, target: float, walk: int) -> int:
        """The least harmed plan within the cost when the walk began; the cheapest one, if none is."""
        begun = walk * self._walk
        # The first walk begins among the plans that a search begins with.
        before = [
            k for k, each in enumerate(observations.seen) if each.number < begun or (walk == 0 and each.arm == "")
        ] or [0]
        over = np.maximum(observations.cost[before] / target - 1, 0.0)
        return before[int(np.lexsort((observations.loss_increase[before], over))[0])]

    def _walked(self, observations: Observations, name: str, start: int) -> int:
        """Where the walk has come to; its steps are decided again as they were."""
        current, scale = start, max(float(observations.loss_increase[start]), 1e-6)
        steps = [k for k, each in enumerate(observations.seen) if each.arm == name]
        for place, k in enumerate(steps):
            heat = self._temperature * scale * _COLDEST ** (place / self._walk)
            luck = np.random.default_rng([self.context.seed, observations.seen[k].number, 1]).uniform()
            if np.log(max(luck, 1e-300)) < (observations.loss_increase[current] - observations.loss_increase[k]) / heat:
                current = k
        return current


def create(context: SamplerContext) -> BaseSampler:
    walk = whole_number(context.options, "walk", 2, 100_000)
    return Annealing(context, walk, number(context.options, "temperature", 1e-6, 1_000))
