"""Gradients: the sum of absolute derivatives of the loss by the weights of a slice."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.criteria import GroupView

NEEDS: Final = "gradients"


def score(group: GroupView) -> Tensor:
    """E[sum |dL/dw|] over the group."""
    return group.slopes.gradient
