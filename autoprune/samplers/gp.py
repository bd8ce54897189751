"""Gaussian processes and expected hypervolume improvement under constraints (Daulton et al. 2020).

Optuna's sampler. A proposal takes a second or more once some hundred trials are told. The first plans keep to what the
budget was seen to allow.
"""

from __future__ import annotations

from typing import Final

from optuna.samplers import BaseSampler, GPSampler

from autoprune.samplers import WARM, SamplerContext
from autoprune.samplers._budgeted import Budgeted

OPTIONS: Final = {WARM: "false"}


class BudgetedGP(Budgeted, GPSampler):
    """The first levels lie around one scale a plan."""


def create(context: SamplerContext) -> BaseSampler:
    sampler = BudgetedGP(seed=context.seed)
    sampler.context(context)
    return sampler
