"""Samplers that propose whole plans from the observations of a study. Knows how a proposal is made; not what makes it
good.

What such a sampler proposes depends on seed, trial number and the trials told so far alone, so that one which is made
anew after a kill goes on as it would have.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from autoprune.samplers import PROPOSER, SamplerContext
from autoprune.samplers._observations import ObservationReader
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observations

_TRIES: Final = 64
#: Who proposes where all that is favoured is known.
_SCATTERED: Final = "random"
#: Optuna's attribute of a trial whose parameters were given when it was enqueued.
_FIXED: Final = "fixed_params"


class PlannedSampler(BaseSampler):
    """Give `propose`; of the plans that it favours the first one that is new is asked for.

    repeats: known plans may be asked for once more, where a sampler has no others.
    """

    repeats: ClassVar[bool] = False

    def __init__(self, context: SamplerContext) -> None:
        self.context = context
        self._observations = ObservationReader(context)
        self._proposed: dict[str, int] = {}

    @abstractmethod
    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        """Plans, the most wanted first, each with a word on who wants it; rng: of this trial alone."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        names = [variable.name for variable in self.context.space.variables]
        if trial.system_attrs.get(_FIXED, {}).keys() >= set(names):  # enqueued: it is nobody's proposal
            return
        known = self._observations.levels(trial)
        if known is None:  # else it was asked for by an earlier process
            self._observations.look(study, trial.number)
            known, arm = self._chosen(trial.number)
            if arm:
                study._storage.set_trial_system_attr(trial._trial_id, PROPOSER, arm)
        self._proposed = dict(zip(names, known, strict=True))

    def _chosen(self, number: int) -> tuple[Levels, str]:
        observations = self._observations.observations()
        rng, settled = np.random.default_rng([self.context.seed, number]), self.context.space.settled
        for proposed, arm in self.propose(observations, number, rng):
            plan = settled(proposed)
            if self.repeats or plan not in observations.taken:
                return plan, arm
        for _ in range(_TRIES):
            plan = settled(self._observations.scattered(rng))
            if plan not in observations.taken:
                break
        return plan, _SCATTERED

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> int:
        return self._proposed[param_name]
