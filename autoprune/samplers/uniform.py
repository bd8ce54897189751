"""The same keep ratio for every group: what people do by hand, and a baseline.

Ratios follow the binary van der Corput sequence (1/2, 1/4, 3/4, 1/8 ...) up to what the budget was seen to allow, so
that any number of trials covers the range evenly.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext
from autoprune.samplers._planned import PlannedSampler
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observations


class UniformPlans(PlannedSampler):
    """Proposes uniform plans only, known ones too once there are no others."""

    repeats = True

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        space = self.context.space
        least, place = space.least, van_der_corput(number + 1) * self._observations.affordable
        indices = space.indices(space.uniform(least + (1 - least) * place))
        return [(tuple(indices[variable.name] for variable in space.variables), "")]


def create(context: SamplerContext) -> BaseSampler:
    """There is nothing random in it; the seed is not used."""
    return UniformPlans(context)


def van_der_corput(number: int) -> float:
    """The binary radical inverse of a positive number, in (0, 1) (van der Corput 1935)."""
    value, weight = 0.0, 0.5
    while number:
        number, digit = divmod(number, 2)
        value += digit * weight
        weight /= 2
    return value
