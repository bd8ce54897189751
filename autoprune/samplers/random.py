"""Independent random levels: the baseline that every other sampler must beat (Bergstra and Bengio 2012)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, RandomSampler

from autoprune.core.space import SearchSpace


def create(space: SearchSpace, seed: int) -> BaseSampler:
    """Optuna's random sampler; `space` shapes nothing here."""
    del space
    return RandomSampler(seed)
