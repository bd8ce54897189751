"""First-order Taylor expansion of the loss, in group form (Molchanov et al. 2017; over groups, Fang et al. 2023)."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.criteria import GroupView

NEEDS: Final = "gradients"


def score(group: GroupView) -> Tensor:
    """E|sum of w dL/dw|, the sum over all elements of a slice in all members, the mean over small batches."""
    return group.slopes.absolute
