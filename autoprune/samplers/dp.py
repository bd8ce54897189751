"""The solver alone: the least loss increase for every cost, by one table, solved anew as observations come in.

A knapsack over levels and cost (SPDY, Frantar and Alistarh 2022), here over sums of loss increase that ablations began
and a Bayesian regression refits. The first plans lie evenly over the predicted front; later ones are those that would
add most to the front, every other time under a draw from what is believed instead of its mean (Thompson 1933), so that
what is uncertain is tried."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext
from autoprune.samplers._planned import PlannedSampler
from autoprune.surrogate.acquisition import ranked
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
#: Few: what is proposed after them was learned from what came before.
SEEDS: Final = 5
_SOLVED, _DRAW = "dp", "thompson"


class SolvedPlans(PlannedSampler):
    """Seeds first, then the predicted front again and again."""

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        surrogate = Surrogate(self.context.required_forecast, observations, self.context.space)
        for name, plans in solved(surrogate, number, rng):
            yield from ((plan, name) for plan in plans)


def solved(surrogate: Surrogate, number: int, rng: np.random.Generator) -> Iterable[tuple[str, list[Levels]]]:
    """Plans of the predicted front that are expected to add most, with the name of what was solved; lazily, the one
    whose turn it is first."""
    turns = [(_SOLVED, None), (_DRAW, rng)]
    for name, draw in turns if number % 2 else turns[::-1]:
        yield name, ranked(surrogate, surrogate.front(draw))


def create(context: SamplerContext) -> BaseSampler:
    return SolvedPlans(context)
