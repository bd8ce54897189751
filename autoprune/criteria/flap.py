"""Fluctuation: the variance of an input times the squared norm of its column (FLAP, An et al. 2024, eq. 5).

What hardly varies can be replaced by its mean, which a bias takes over.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.criteria import GroupView, InputStats, View

NEEDS: Final = "activations"


def score(group: GroupView) -> Tensor:
    """sum of Var(x_j) |W_:j|^2."""
    return group.total_read(_fluctuation)


def _fluctuation(view: View, reads: InputStats) -> Tensor:
    return view.rows.square().sum(1) * reads.per_position(reads.moments.covariance.diagonal()).clamp_min(0)
