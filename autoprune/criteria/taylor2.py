"""Second-order Taylor expansion of the loss, in group form, with the Gauss-Newton matrix in place of the Hessian.

The change of the loss without a slice is -E[z] + E[z^2] / 2, z the sum of w dL/dw (LeCun et al. 1990; Molchanov et al.
2019, eq. 3).
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.criteria import GroupView

NEEDS: Final = "gradients"


def score(group: GroupView) -> Tensor:
    """|-E[z] + E[z^2] / 2|."""
    return (group.slopes.square / 2 - group.slopes.mean).abs()
