"""Norms of slices over all tensors of their group: each is drawn to zero as a whole (Wen et al. 2016, eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.finetuning.regularizers import RegularizerContext


def penalty(context: RegularizerContext) -> Tensor:
    """Over groups and slices, the root of a slice's size times its norm (Yuan and Lin 2006).

    A weight between two groups counts in both. At first it is ten times the loss, as `strength` is 10.
    """
    return sum((_norms(group) for group in context.groups), context.total(torch.abs, {}))


def _norms(group: GroupView) -> Tensor:
    squared = group.total(lambda view: view.rows.square().sum(1))
    sizes = group.total(lambda view: torch.ones_like(view.rows).sum(1))
    there = squared > 0  # the norm has no gradient at zero, where 0 is one of its subgradients
    return torch.where(there, torch.where(there, squared, 1).sqrt() * sizes.sqrt(), 0).sum()
