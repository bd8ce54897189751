"""L1 magnitude: the sum of absolute weights that a slice holds in all members of its group (Li et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.criteria import View


def score(views: Sequence[View]) -> Tensor:
    """|w| summed over the group."""
    return torch.stack([view.sum(view.rows.abs().sum(1)) for view in views]).sum(0)
