"""L2 magnitude: the Euclidean norm of the weights that a slice holds in all members of its group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.criteria import View


def score(views: Sequence[View]) -> Tensor:
    """sqrt(sum w^2) over the group."""
    return torch.stack([view.sum(view.rows.square().sum(1)) for view in views]).sum(0).sqrt()
