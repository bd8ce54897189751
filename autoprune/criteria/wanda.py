"""Wanda: weights times the norm of their inputs (Sun et al. 2024, eq. 1), summed over a slice's columns."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.criteria import GroupView, InputStats, View

NEEDS: Final = "activations"


def score(group: GroupView) -> Tensor:
    """sum of |W_ij| sqrt(E[x_j^2])."""
    return group.total_read(_weighted)


def _weighted(view: View, reads: InputStats) -> Tensor:
    return view.rows.abs().sum(1) * reads.per_position(reads.moments.square).clamp_min(0).sqrt()
