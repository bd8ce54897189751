"""Who proposes plans. Knows the contract; each file beside this one is one sampler.

A sampler is a module with `create(space, seed) -> optuna.samplers.BaseSampler`. Each variable of the space is one
integer parameter, the index of its level; limits of the budget are constraints of the trials, objectives are minimised.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler

from autoprune.core.space import SearchSpace

Create = Callable[[SearchSpace, int], BaseSampler]


def distributions(space: SearchSpace) -> dict[str, IntDistribution]:
    """One integer parameter a variable: the index of its level."""
    return {variable.name: IntDistribution(0, len(variable.levels) - 1) for variable in space.variables}
