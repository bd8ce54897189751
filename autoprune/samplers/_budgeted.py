"""Optuna's samplers with one change: levels that they would draw uniformly are drawn as `ObservationReader.scattered`
says.

Those are the first ones of a study, and mutations. Knows nothing of what a sampler does with the trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from autoprune.samplers import SamplerContext
from autoprune.samplers._observations import ObservationReader


class Budgeted(BaseSampler):
    """Goes before an Optuna sampler among a class's bases; what is fresh is a function of seed and trial number."""

    _context: SamplerContext
    _observations: ObservationReader
    _fresh: Mapping[str, int]

    def context(self, context: SamplerContext) -> None:
        """What the sampler is for; called once, before anything is asked."""
        self._context, self._observations = context, ObservationReader(context)

    def follow(self, earlier: Budgeted) -> None:
        """Go on from what another one has read of the study."""
        self._observations = earlier._observations

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._observations.look(study, trial.number)
        plan = self._observations.scattered(np.random.default_rng([self._context.seed, trial.number]))
        self._fresh = {v.name: level for v, level in zip(self._context.space.variables, plan, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._fresh[param_name]


def population(context: SamplerContext) -> int:
    """Few groups need no large population, and short searches should still breed."""
    return min(max(2 * len(context.space.variables), 12), 50)
