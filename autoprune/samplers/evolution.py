"""Regularised evolution: the best of a random few of the last plans has a child, the oldest dies (Real et al. 2019).

A child has levels switched in pairs (EvoPress, Sieberling et al. 2024), and is then repaired to a cost that the
predictor tells without measuring. The cost is drawn anew for each child, so that one population covers the front.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext, whole_number
from autoprune.samplers._planned import PlannedSampler
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.mutations import repaired, switched
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
OPTIONS: Final = {"population": "48", "tournament": "8"}
_CHILDREN: Final = 16
#: How often the cost that is aimed at is the budget itself.
_AT_EDGE: Final = 0.5
_NAME: Final = "evolution"


class AgingEvolution(PlannedSampler):
    """population: plans that are alive; tournament: those of them that compete to be a parent."""

    def __init__(self, context: SamplerContext, population: int, tournament: int) -> None:
        super().__init__(context)
        self._population, self._tournament = population, tournament

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        surrogate = Surrogate(self.context.required_forecast, observations, self.context.space)
        return [(child, _NAME) for child in self.children(surrogate, _CHILDREN, rng)]

    def children(self, surrogate: Surrogate, count: int, rng: np.random.Generator) -> list[Levels]:
        """So many children of as many parents; none where nobody is alive."""
        observations, sizes = surrogate.observations, self.context.sizes
        if not observations.seen:
            return []
        alive = np.arange(len(observations.seen))[-self._population :]
        found = []
        for _ in range(count):
            target = aimed(surrogate, rng)
            few = rng.choice(alive, min(self._tournament, len(alive)), replace=False)
            # Of those that cost too much, the cheapest ones come first.
            over = np.maximum(observations.cost[few] / target - 1, 0.0)
            parent = few[np.lexsort((observations.loss_increase[few], over))[0]]
            child = switched(observations.seen[parent].levels, sizes, rng)
            found.append(repaired(child, target, sizes, partial(surrogate.pressure, target=target), rng))
        return found


def aimed(surrogate: Surrogate, rng: np.random.Generator) -> float:
    """A cost to aim at: the budget, or any below it; as a share of dense."""
    smallest = float(surrogate.cost_estimate.quick(np.zeros((1, len(surrogate.sizes)), int))[0])
    largest = min(surrogate.cost_estimate.room, 1.0)
    if smallest >= largest or (np.isfinite(surrogate.cost_estimate.room) and rng.uniform() < _AT_EDGE):
        return largest
    return float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))


def create(context: SamplerContext) -> BaseSampler:
    population = whole_number(context.options, "population", 2, 10_000)
    return AgingEvolution(context, population, whole_number(context.options, "tournament", 1, 1_000))
