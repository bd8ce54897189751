"""TPE: densities of good and of other plans, all levels jointly (Bergstra et al. 2011; Ozaki et al. 2022).

Optuna's sampler in its multivariate form; independent densities, the default, cost seconds a proposal in long studies.
The first plans keep to what the budget was seen to allow.
"""

from __future__ import annotations

from typing import Final

from optuna.samplers import BaseSampler, TPESampler

from autoprune.samplers import WARM, SamplerContext
from autoprune.samplers._budgeted import Budgeted

OPTIONS: Final = {WARM: "false"}


class BudgetedTPE(Budgeted, TPESampler):
    """The first levels lie around one scale a plan."""


def create(context: SamplerContext) -> BaseSampler:
    sampler = BudgetedTPE(multivariate=True, seed=context.seed)
    sampler.context(context)
    return sampler
