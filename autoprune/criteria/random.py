"""Chance: the baseline that every other criterion must beat.

The number of a slice is drawn from its weights, so that it follows the slice when slices are reordered.
"""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.criteria.l1 import score as magnitude


def score(group: GroupView) -> Tensor:
    """A fraction in [0, 1) of the slice's magnitude in small units: even to the eye, and the same in each run."""
    total = magnitude(group)
    unit = total.mean().clamp_min(1e-300) * 1e-4
    return (total / unit) % 1.0
