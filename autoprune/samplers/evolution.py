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

from autoprune.samplers import Brief, whole_number
from autoprune.samplers._planned import PlannedSampler
from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Evidence
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.mutations import repaired, switched

FORECAST: Final = True
OPTIONS: Final = {"population": "48", "tournament": "8"}
_CHILDREN: Final = 16
#: How often the cost that is aimed at is the budget itself.
_AT_EDGE: Final = 0.5
_NAME: Final = "evolution"


class AgingEvolution(PlannedSampler):
    """population: plans that are alive; tournament: those of them that compete to be a parent."""

    def __init__(self, brief: Brief, population: int, tournament: int) -> None:
        super().__init__(brief)
        self._population, self._tournament = population, tournament

    def propose(self, evidence: Evidence, number: int, rng: np.random.Generator) -> Iterable[tuple[Levels, str]]:
        belief = Belief(self.brief.foretold, evidence, self.brief.space)
        return [(child, _NAME) for child in self.children(belief, _CHILDREN, rng)]

    def children(self, belief: Belief, count: int, rng: np.random.Generator) -> list[Levels]:
        """So many children of as many parents; none where nobody is alive."""
        evidence, sizes = belief.evidence, self.brief.sizes
        if not evidence.seen:
            return []
        alive = np.arange(len(evidence.seen))[-self._population :]
        found = []
        for _ in range(count):
            target = aimed(belief, rng)
            few = rng.choice(alive, min(self._tournament, len(alive)), replace=False)
            # Of those that cost too much, the cheapest ones come first.
            over = np.maximum(evidence.cost[few] / target - 1, 0.0)
            parent = few[np.lexsort((evidence.harm[few], over))[0]]
            child = switched(evidence.seen[parent].levels, sizes, rng)
            found.append(repaired(child, target, sizes, partial(belief.pressure, target=target), rng))
        return found


def aimed(belief: Belief, rng: np.random.Generator) -> float:
    """A cost to aim at: the budget, or any below it; as a share of dense."""
    smallest = float(belief.price.quick(np.zeros((1, len(belief.sizes)), int))[0])
    largest = min(belief.price.room, 1.0)
    if smallest >= largest or (np.isfinite(belief.price.room) and rng.uniform() < _AT_EDGE):
        return largest
    return float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))


def create(brief: Brief) -> BaseSampler:
    population = whole_number(brief.options, "population", 2, 10_000)
    return AgingEvolution(brief, population, whole_number(brief.options, "tournament", 1, 1_000))
