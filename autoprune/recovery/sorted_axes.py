"""Queries with keys, and values with what reads them, in the basis that loses least when its last axes are cut.

Knows bases that are free, and moments of the dense model's inputs; runs no model. For a product of z and y over axes,
with second moments Z = A A' and Y = B B', and the singular value decomposition A'B = U S V',

    T = S^1/2 U' A^-1  for z,    T^-T = S^1/2 V' B^-1  for y

change nothing (z'y = (Tz)'(T^-T y)), give axis i the second moment S_i on both sides, and make the error of cutting the
axes of a set C the sum of S_i^2 over C, which no other basis undercuts (Eckart and Young 1936; for attention: A3, Wong
et al. 2025). Grouped queries share a key: their moments are added up. A weight V that reads z stands in the place of y,
with Y = V'V. Axes are sorted, so that one set of indices is the best for all heads.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.criteria import Moments, ridged, second_moment
from autoprune.surgery import Traced
from autoprune.surgery.bases import Basis, Block, Rows
from autoprune.surgery.clone import clone
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.find import followed, named_tensors
from autoprune.surgery.layout import positions
from autoprune.surgery.turning import Turn, turned
from autoprune.tasks.task import Task

#: By tensor, by what its dense numbers are multiplied in a cut model; of size 1 along dimensions that matter not.
Scales = Mapping[str, Tensor]
#: Ridge of second moments, as a share of the mean of the diagonal: axes that carry nothing have some length still.
_RIDGE: Final = 1e-8


class SortedAxes:
    """The dense model of a task in sorted axes, and models that were cut from the dense one.

    Attributes:
        task: With the model in sorted axes.
        moments: Of that model's inputs.
    """

    def __init__(self, task: Task, traced: Traced, moments: Mapping[str, Moments]) -> None:
        """moments: by weight, of the dense model's inputs. Of bases that are not free, that single weights are zeroed
        in or that nothing is known of, the axes stay."""
        dense = dict(named_tensors(task.model))
        zeroed = {member.tensor for group in traced.open if group.kind == "weight" for member in group.members}
        known = {name: basis for name, basis in traced.bases.items() if _known(basis, moments, dense.keys() - zeroed)}
        self._groups = {group.name for group in traced.open} & known.keys()
        turns = [_sorted(block, dense, moments) for name in sorted(self._groups) for block in known[name].blocks]
        self._traced, self._shapes = traced, {name: tensor.shape for name, tensor in dense.items()}
        self._turned = turned(dense, turns)
        own = {
            id(dense[name]): nn.Parameter(data, False) if isinstance(dense[name], nn.Parameter) else data
            for name, data in self._turned.items()
        }
        self.task = replace(task, model=clone(task.model, lambda each: own.get(id(each), each))) if own else task
        self.moments = _followed(moments, turns)

    def entered(self, cut: CutModel) -> tuple[CutModel, Scales]:
        """The cut model in sorted axes, of which the first ones are left; its weights are replaced in place.

        Returns:
            It with its slices; and by what its numbers are scaled, as code that divides products by the root of how
            many axes there are would make those of fewer axes too large.
        """
        slices = {name: torch.arange(len(kept)) if name in self._groups else kept for name, kept in cut.slices.items()}
        cut = replace(cut, slices=slices)
        own = dict(named_tensors(cut.model))
        with torch.no_grad():
            for name in self._turned.keys() & own.keys():  # a dropped layer has no weights
                own[name].copy_(self._chosen(name, self._turned[name], slices))
            scales = self._scales(cut.model) if slices.keys() & self._traced.bases.keys() else {}
            for name, scale in scales.items():
                own[name].mul_(self._chosen(name, scale, slices).to(own[name]))
        return cut, scales

    def _chosen(self, name: str, data: Tensor, slices: Mapping[str, Tensor]) -> Tensor:
        """What is left of a tensor; along dimensions of size 1 all of it is the same."""
        for dim, layout in enumerate(self._traced.layouts[name]):
            kept = positions(layout, slices) if data.shape[dim] > 1 else None
            data = data if kept is None else data.index_select(dim, kept.to(data.device))
        return data

    def _scales(self, model: nn.Module) -> dict[str, Tensor]:
        found = followed(model, self.task.example).scales
        scales: dict[str, Tensor] = {}
        for block in (block for basis in self._traced.bases.values() for block in basis.blocks if block.against):
            ratio = block.scale / found.get((block.writes[0].weight, block.against[0].weight), block.scale)
            if not math.isfinite(ratio) or math.isclose(ratio, 1):
                continue
            for rows in block.writes:
                for name, dim in ((rows.weight, rows.dim), (rows.bias, 0)):
                    if name:
                        shape = [each if place == dim else 1 for place, each in enumerate(self._shapes[name])]
                        scale = scales.setdefault(name, torch.ones(shape))
                        scale.movedim(dim, 0)[torch.tensor(rows.places)] = ratio
        return scales


def balanced(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """T for what has the second moments `left`, T^-T for what it is multiplied with, and S, largest first.

    Args:
        left: (axes, axes) float64.
        right: The same.
    """
    lowers = []
    for moment in (left, right):
        lower, info = torch.linalg.cholesky_ex(ridged(moment, _RIDGE))
        if bool(info):  # nothing is written, or nothing read: any basis does
            return torch.eye(len(moment)).double(), torch.eye(len(moment)).double(), moment.new_zeros(len(moment))
        lowers.append(lower)
    first, second = lowers
    rotation, values, other = torch.linalg.svd(first.T @ second)
    change, contrary = (
        values.sqrt()[:, None] * torch.linalg.solve_triangular(lower.T, turn, upper=True).T
        for lower, turn in ((first, rotation), (second, other.T))
    )
    return change, contrary, values


def _known(basis: Basis, moments: Mapping[str, Moments], usable: Collection[str]) -> bool:
    """Whether a basis may be changed, and all is known that says to which."""
    used = [rows for block in basis.blocks for rows in (*block.writes, *block.against, *block.reads)]
    read = [rows for block in basis.blocks for rows in (block.reads or (*block.writes, *block.against))]
    return basis.free and all(rows.weight in usable for rows in used) and all(rows.weight in moments for rows in read)


def _sorted(block: Block, dense: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> Turn:
    if block.against:
        left, right = (
            sum(second_moment(rows, dense, moments) for rows in side) for side in (block.writes, block.against)
        )
    else:
        left = sum(_entering(rows, moments[rows.weight]) for rows in block.reads)
        right = sum(_weighted(rows, dense, moments[rows.weight]) for rows in block.reads)
    change, contrary, _ = balanced(torch.as_tensor(left), torch.as_tensor(right))
    return block, change, contrary


def _entering(rows: Rows, known: Moments) -> Tensor:
    """What least squares are solved with for what a weight reads, (axes, axes)."""
    places = torch.tensor(rows.places)
    return known.solvable()[places][:, places]


def _weighted(rows: Rows, dense: Mapping[str, Tensor], known: Moments) -> Tensor:
    """V'V of a weight that reads, (axes, axes)."""
    matrix = known.matrix(dense[rows.weight])[:, torch.tensor(rows.places)]
    return matrix.T @ matrix


def _followed(moments: Mapping[str, Moments], turns: Iterable[Turn]) -> dict[str, Moments]:
    """The moments of inputs that have other axes now."""
    found = dict(moments)
    for block, change, _ in turns:
        for rows in block.reads:
            known, places = found[rows.weight], torch.tensor(rows.places)
            mean, covariance = known.mean.clone(), known.covariance.clone()
            mean[places] = change @ mean[places]
            covariance[places] = change @ covariance[places]
            covariance[:, places] = covariance[:, places] @ change.T
            found[rows.weight] = replace(known, mean=mean, covariance=covariance)
    return found
