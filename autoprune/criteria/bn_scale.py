"""Scales of normalisation: |gamma| summed over the group (network slimming, Liu et al. 2017).

A group without normalisation is ranked by l2.
"""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.criteria.l2 import score as magnitude


def score(group: GroupView) -> Tensor:
    """|gamma|; l2 where the group has none."""
    scales = [view for view in group.views if view.role == "scale"]
    return group.total(lambda view: view.rows.abs().sum(1), scales) if scales else magnitude(group)
