"""Samplers whose next proposal depends on the study alone. Knows seeds and trial numbers; not how a sampler samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autoprune.samplers import Create, SamplerContext
from autoprune.samplers._budgeted import Budgeted
from autoprune.samplers._planned import PlannedSampler


def derived(seed: int, number: int) -> int:
    """Another seed for each number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def sampler_for(create: Create, context: SamplerContext, *, deterministic: bool, told: int = 0) -> BaseSampler:
    """The sampler of a search. told: trials of earlier processes, whose random numbers are spent."""
    made = create(context)
    if isinstance(made, PlannedSampler):  # repeatable by itself
        return made
    if deterministic:
        return Reseeded(lambda seed: create(replace(context, seed=seed)), context.seed)
    return create(replace(context, seed=derived(context.seed, told))) if told else made


class Reseeded(BaseSampler):
    """A fresh sampler for each trial, seeded by the run's seed and the trial's number.

    Nothing is carried from one proposal to the next but what the study holds, or was read of it, so that a search which
    was killed goes on as it would have.
    """

    def __init__(self, create: Callable[[int], BaseSampler], seed: int) -> None:
        self._create, self._seed = create, seed
        self._now = create(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        before, self._now = self._now, self._create(derived(self._seed, trial.number))
        if isinstance(self._now, Budgeted) and isinstance(before, Budgeted):
            self._now.follow(before)
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._now.after_trial(study, trial, state, values)
