"""Training a pruned model on, epoch by epoch, with the dense one as its teacher; or pruning in a loop of the user's."""

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
