"""L2 magnitude: the Euclidean norm of the weights that a slice holds in all members of its group."""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria import GroupView


def score(group: GroupView) -> Tensor:
    """sqrt(sum w^2) over the group."""
    return group.total(lambda view: view.rows.square().sum(1)).sqrt()
