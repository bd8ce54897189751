"""Pruning while a model is trained: schedules, gates, and the pruner for a loop of the user's. Knows no search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.training.pruner import Pruner

__all__ = ["Pruner"]


def __getattr__(name: str) -> Any:
    if name != "Pruner":
        raise AttributeError(f"module 'autoprune.training' has no attribute '{name}'")
    from autoprune.training.pruner import Pruner

    return Pruner
