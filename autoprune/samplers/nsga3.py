"""NSGA-III: as NSGA-II, with reference directions that keep a population apart in many objectives (Deb and Jain 2014).

Optuna's sampler; fresh levels keep to what the budget was seen to allow.
"""

from __future__ import annotations

import warnings
from typing import Final

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler

from autoprune.samplers import WARM, SamplerContext
from autoprune.samplers._budgeted import Budgeted, population

OPTIONS: Final = {WARM: "false"}


class BudgetedNSGAIII(Budgeted, NSGAIIISampler):
    """Fresh levels lie around one scale a plan."""


def create(context: SamplerContext) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = BudgetedNSGAIII(population_size=population(context), seed=context.seed)
    sampler.context(context)
    return sampler
