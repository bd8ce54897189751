"""How important each slice of a group is. Knows the contract; each file beside this one is one criterion.

A criterion is a module with `score(views) -> Tensor`: the views of one group in, one score a slice out (1-D, finite,
higher is more important, permuted when the slices are permuted).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.core.group import Group
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import slice_of_position
from autoprune.surgery.traced import Traced


@dataclass(frozen=True)
class View:
    """One parameter as a group sees it.

    rows: the parameter with the group's dimension first, (positions, elements); slices: for each position the index
    of the group's slice that it belongs to, -1 for none; size: number of slices of the group.
    """

    tensor: str
    rows: Tensor
    slices: Tensor
    size: int

    def sum(self, per_position: Tensor) -> Tensor:
        """Add up one number a position (positions,) into one number a slice (size,)."""
        inside = self.slices >= 0
        return torch.zeros(self.size, dtype=per_position.dtype).index_add_(0, self.slices[inside], per_position[inside])


Score = Callable[[Sequence[View]], Tensor]


def rank(score: Score, model: nn.Module, traced: Traced) -> dict[str, Tensor]:
    """Scores of every group of slices that may be cut, in float64: group -> (size,). Layers have no slices."""
    tensors = {name: tensor.detach().cpu() for name, tensor in named_tensors(model) if isinstance(tensor, nn.Parameter)}
    return {group.name: score(list(views(group, traced, tensors))) for group in traced.open if group.kind != "layer"}


def views(group: Group, traced: Traced, tensors: Mapping[str, Tensor]) -> Iterator[View]:
    """What a group touches, one view for each place where it stands in a dimension."""
    for member in group.members:
        if member.tensor in tensors and member.dim is not None:
            tensor = tensors[member.tensor]
            moved = (tensor.abs() if tensor.is_complex() else tensor).movedim(member.dim, 0).double()
            rows = moved.reshape(len(moved), -1)
            for slices in slice_of_position(traced.layouts[member.tensor][member.dim], group.name):
                yield View(member.tensor, rows, slices, group.size)
