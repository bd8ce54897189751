"""NSGA-II: a population bred by crossover and mutation, selected by non-domination (Deb et al. 2002).

Optuna's sampler; fresh levels keep to what the budget was seen to allow.
"""

from __future__ import annotations

from typing import Final

from optuna.samplers import BaseSampler, NSGAIISampler

from autoprune.samplers import WARM, SamplerContext
from autoprune.samplers._budgeted import Budgeted, population

OPTIONS: Final = {WARM: "false"}


class BudgetedNSGAII(Budgeted, NSGAIISampler):
    """Fresh levels lie around one scale a plan."""


def create(context: SamplerContext) -> BaseSampler:
    sampler = BudgetedNSGAII(population_size=population(context), seed=context.seed)
    sampler.context(context)
    return sampler
