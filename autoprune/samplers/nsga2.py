"""NSGA-II: a population bred by crossover and mutation, selected by non-domination (Deb et al. 2002)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from autoprune.core.space import SearchSpace

_FEWEST, _MOST = 12, 50


def create(space: SearchSpace, seed: int) -> BaseSampler:
    """Optuna's NSGA-II with a population that grows with the number of groups, so that short searches still breed."""
    return NSGAIISampler(population_size=min(max(2 * len(space.groups), _FEWEST), _MOST), seed=seed)
