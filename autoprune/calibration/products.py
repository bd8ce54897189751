"""What each axis adds to products of queries with keys, which no weight reads. Knows bases and moments of inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.criteria import Moments, second_moment
from autoprune.surgery.bases import Basis


def energies(basis: Basis, size: int, tensors: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> Tensor | None:
    """The sum over products of E[z_i^2] E[y_i^2], by slice i: the error of leaving it out, over all pairs of tokens.

    Args:
        basis: Of a group.
        size: Slices of the group.
        tensors: Weights and biases by name.
        moments: Of what enters the weights.

    Returns:
        (size,) float64; None where no weight multiplies another, or nothing is known of what enters one.
    """
    blocks = [block for block in basis.blocks if block.against]
    sides = [rows.weight for block in blocks for rows in (*block.writes, *block.against)]
    if not blocks or not all(name in moments and name in tensors for name in sides):
        return None
    total = torch.zeros(size, dtype=torch.float64)
    for block in blocks:
        slices = torch.tensor(block.slices)
        left, right = (
            torch.zeros_like(total).index_add(
                0, slices, torch.stack([second_moment(each, tensors, moments).diagonal() for each in side]).sum(0)
            )
            for side in (block.writes, block.against)
        )
        total += left * right
    return total
