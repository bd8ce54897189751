"""LAMP: a slice's squared magnitude over that of all that is as large or larger in its group (Lee et al. 2021, eq. 5).

Within a group it orders as l2 does; between groups, for the global scope, it leaves each group its largest slices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.criteria.l2 import score as magnitude


def score(group: GroupView) -> Tensor:
    """m_s^2 / (sum of m_t^2 over the slices t with m_t >= m_s); equal slices get the same."""
    squares = magnitude(group).square()
    ordered, place = squares.sort()
    least = torch.searchsorted(ordered, ordered)  # the first of those that are equal
    above = ordered.flip(0).cumsum(0).flip(0)[least].clamp_min(torch.finfo(torch.float64).tiny)
    return torch.empty_like(squares).scatter_(0, place, ordered / above)
