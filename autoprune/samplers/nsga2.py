"""NSGA-II: a population bred by crossover and mutation, selected by non-domination (Deb et al. 2002).

Optuna's sampler, with one change: where it would draw a level uniformly (the first generation, and mutations), levels
are drawn around one scale for the whole plan, and the scale from what the budget was seen to allow. Independent uniform
levels nearly all cost about half of the dense model: a tight budget would see no feasible plan for generations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autoprune.core.space import SearchSpace

_FEWEST, _MOST = 12, 50
#: Standard deviation of a level around its plan's scale, as a share of the ladder.
_SPREAD = 0.25
#: Scales reach so far beyond the largest feasible one, since groups differ in what they cost.
_REACH, _MARGIN = 1.25, 0.1


class BudgetedNSGAII(NSGAIISampler):
    """NSGA-II whose fresh levels keep to the affordable part of the space; a function of seed and trial number."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed = space, seed
        # Few groups need no large population, and short searches should still breed.
        super().__init__(population_size=min(max(2 * len(space.variables), _FEWEST), _MOST), seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        rng = np.random.default_rng([self._seed, trial.number])
        # The square root puts more of them near the edge, where quality is.
        scale = np.sqrt(rng.uniform()) * affordable(study, self._space)
        positions = np.clip(rng.normal(scale, _SPREAD, len(self._space.variables)), 0, 1)
        self._fresh = {
            variable.name: round(float(position) * (len(variable.levels) - 1))
            for variable, position in zip(self._space.variables, positions, strict=True)
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._fresh[param_name]


def create(space: SearchSpace, seed: int) -> BaseSampler:
    return BudgetedNSGAII(space, seed)


def affordable(study: Study, space: SearchSpace) -> float:
    """The largest scale to draw from: a little more than that of the largest plan that met the budget; at most 1."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in trials if all(excess <= 0 for excess in trial.constraints.values())]
    if not trials or len(feasible) == len(trials):
        return 1.0
    highest = {variable.name: len(variable.levels) - 1 for variable in space.variables}
    scales = [np.mean([trial.params[name] / top for name, top in highest.items()]) for trial in feasible]
    return min(_REACH * float(max(scales, default=0.0)) + _MARGIN, 1.0)
