"""Norms of slices over all tensors of their group: each is drawn to zero as a whole (Wen et al. 2016, eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.errors import UsageError
from autoprune.finetuning.regularizers import RegularizerContext

OPTIONS: Final[Mapping[str, str]] = {"scaling": "0"}


def penalty(context: RegularizerContext) -> Tensor:
    """Over groups and slices, the root of a slice's size times its norm (Yuan and Lin 2006).

    A weight between two groups counts in both. At first it is ten times the loss, as `strength` is 10.
    `scaling`: how much more strongly small slices are drawn than large ones: the smallest of a group 2 to the power of
    it times as much as the largest (magnitude scaling, DepGraph: Fang et al. 2023, there 4).

    Raises:
        UsageError: a scaling that is no number, or below 0.
    """
    scaling = _scaling(context.options)
    return sum((_norms(group, scaling) for group in context.groups), context.total(torch.abs, {}))


def _scaling(options: Mapping[str, str]) -> float:
    try:
        found = float(options["scaling"])
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise UsageError(
            expected="scaling as a number of at least 0", received=repr(options["scaling"]), cure="write scaling=4"
        )
    return found


def _norms(group: GroupView, scaling: float) -> Tensor:
    squared = group.total(lambda view: view.rows.square().sum(1))
    sizes = group.total(lambda view: torch.ones_like(view.rows).sum(1))
    there = squared > 0  # the norm has no gradient at zero, where 0 is one of its subgradients
    norms = torch.where(there, torch.where(there, squared, 1).sqrt() * sizes.sqrt(), 0)
    large = norms.detach()
    spread = large.max() - large.min()
    return (torch.exp2(scaling * (large.max() - large) / spread) * norms).sum() if scaling and spread else norms.sum()
