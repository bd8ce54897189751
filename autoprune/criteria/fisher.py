"""Fisher information: half the mean square of sum of w dL/dw (Theis et al. 2018, eq. 7; groups: Liu et al. 2021)."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.criteria import GroupView

NEEDS: Final = "gradients"


def score(group: GroupView) -> Tensor:
    """E[z^2] / 2."""
    return group.slopes.square / 2
