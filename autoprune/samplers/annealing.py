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

from autoprune.samplers import Brief, number, whole_number
from autoprune.samplers._planned import PlannedSampler
from autoprune.samplers.evolution import aimed
from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Evidence
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.mutations import repaired, switched

FORECAST: Final = True
OPTIONS: Final = {"walk": "20", "temperature": "0.5"}
_NEIGHBOURS: Final = 8
#: The temperature at the end of a walk, as a share of that at its beginning.
_COLDEST: Final = 0.02
_NAME: Final = "annealing"


class Annealing(PlannedSampler):
    """walk: plans between two beginnings; temperature: at the beginning, as a share of the harm where it begins."""

    def __init__(self, brief: Brief, walk: int, temperature: float) -> None:
        super().__init__(brief)
        self._walk, self._temperature = walk, temperature

    def propose(self, evidence: Evidence, number: int, rng: np.random.Generator) -> Iterable[tuple[Levels, str]]:
        if not evidence.seen:
            return
        belief = Belief(self.brief.foretold, evidence, self.brief.space)
        # Which walk a plan belongs to is in its name: what else was evaluated meanwhile is none of its steps.
        walk = number // self._walk
        target = aimed(belief, np.random.default_rng([self.brief.seed, walk, self._walk]))
        start = self._nearest(evidence, target, walk)
        current = self._walked(evidence, f"{_NAME} {walk}", start)
        for _ in range(_NEIGHBOURS):
            neighbour = switched(evidence.seen[current].levels, self.brief.sizes, rng)
            cost = partial(belief.pressure, target=target)
            yield repaired(neighbour, target, self.brief.sizes, cost, rng), f"{_NAME} {walk}"

    def _nearest(self, evidence: Evidence, target: float, walk: int) -> int:
        """The least harmed plan within the cost when the walk began; the cheapest one, if none is."""
        begun = walk * self._walk
        # The first walk begins among the plans that a search begins with.
        before = [
            k for k, each in enumerate(evidence.seen) if each.number < begun or (walk == 0 and each.arm == "")
        ] or [0]
        over = np.maximum(evidence.cost[before] / target - 1, 0.0)
        return before[int(np.lexsort((evidence.harm[before], over))[0])]

    def _walked(self, evidence: Evidence, name: str, start: int) -> int:
        """Where the walk has come to; its steps are decided again as they were."""
        current, scale = start, max(float(evidence.harm[start]), 1e-6)
        steps = [k for k, each in enumerate(evidence.seen) if each.arm == name]
        for place, k in enumerate(steps):
            heat = self._temperature * scale * _COLDEST ** (place / self._walk)
            luck = np.random.default_rng([self.brief.seed, evidence.seen[k].number, 1]).uniform()
            if np.log(max(luck, 1e-300)) < (evidence.harm[current] - evidence.harm[k]) / heat:
                current = k
        return current


def create(brief: Brief) -> BaseSampler:
    walk = whole_number(brief.options, "walk", 2, 100_000)
    return Annealing(brief, walk, number(brief.options, "temperature", 1e-6, 1_000))
