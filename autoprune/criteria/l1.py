"""L1 magnitude: the sum of absolute weights that a slice holds in all members of its group (Li et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria import GroupView


def score(group: GroupView) -> Tensor:
    """|w| summed over the group."""
    return group.total(lambda view: view.rows.abs().sum(1))
