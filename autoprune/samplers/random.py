"""Random levels around a random scale: the baseline that every other sampler must beat (Bergstra and Bengio 2012)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext
from autoprune.samplers._planned import PlannedSampler
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observations


class RandomPlans(PlannedSampler):
    """Has no favourites: what is drawn is asked for."""

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        return ()


def create(context: SamplerContext) -> BaseSampler:
    return RandomPlans(context)
