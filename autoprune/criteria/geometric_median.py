"""Distance from the other slices: what lies near the geometric median is replaceable (FPGM, He et al. 2019, eq. 6).

Taken over the weights that produce the slices; over all members where none does. Single weights have no geometry: they
are ranked by magnitude.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.criteria.l2 import score as magnitude


def score(group: GroupView) -> Tensor:
    """The sum of Euclidean distances to all slices of the group."""
    if any(view.role == "elements" for view in group.views):
        return magnitude(group)
    views = [view for view in group.views if view.role == "out"] or list(group.views)
    squares = torch.zeros(group.size, group.size, dtype=torch.float64)
    for view in views:
        inside = (view.slices >= 0).nonzero()[:, 0]
        order = inside[torch.argsort(view.slices[inside], stable=True)]
        points = view.rows[order].reshape(group.size, -1)
        squares += torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    return squares.sqrt().sum(1)
