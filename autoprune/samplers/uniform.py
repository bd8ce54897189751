"""The same keep ratio for every group: what people do by hand, and a baseline.

Ratios follow the binary van der Corput sequence (1/2, 1/4, 3/4, 1/8 ...), so that any number of trials covers the
range evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from autoprune.core.space import SearchSpace


class UniformSampler(BaseSampler):
    """Proposes uniform plans only; its state is the trial's number alone."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        del study, trial
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        del study, trial, search_space
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> int:
        del study, param_distribution
        return self._space.indices(self._space.uniform(van_der_corput(trial.number + 1)))[param_name]


def create(space: SearchSpace, seed: int) -> BaseSampler:
    """There is nothing random in it; `seed` is not used."""
    del seed
    return UniformSampler(space)


def van_der_corput(number: int) -> float:
    """The binary radical inverse of a positive number, in (0, 1) (van der Corput 1935)."""
    value, weight = 0.0, 0.5
    while number:
        number, digit = divmod(number, 2)
        value += digit * weight
        weight /= 2
    return value
