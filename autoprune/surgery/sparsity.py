"""Weights zeroed one by one: groups of kind weight, and their masks. Knows patterns; not how importance was found.

A weight is seen as a matrix: its results by its inputs, with the taps of a kernel as further columns beside each
other. Counts of a plan are those of the whole weight; of one that slices were cut from, the same share is kept. Where
n of each m inputs stay there are two counts: 1 thinned, 2 whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.group import Group, Member
from autoprune.core.plan import Plan
from autoprune.search_spaces.pattern import Pattern
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import Layout, positions, size
from autoprune.surgery.traced import Traced

#: The count of a weight of which n of each m inputs stay; one more is the whole weight.
_THINNED: Final = 1


def with_weights(model: nn.Module, traced: Traced, pattern: str) -> Traced:
    """The same with one more group for each weight that sums over inputs: its elements, zeroed by the pattern.

    Raises:
        UsageError: there is no such pattern.
    """
    form, tensors = Pattern.parse(pattern), dict(named_tensors(model))
    total = max(sum(parameter.numel() for parameter in model.parameters()), 1)
    taken = {group.name for group in traced.groups}
    groups = []
    for name, tensor in tensors.items():
        if tensor.dim() < 2 or not isinstance(tensor, nn.Parameter):
            continue
        read, reason = traced.reading.get(name), ""
        rows, columns = _matrix(tensor, read.dim if read else 1).shape
        if read is None:
            reason = "it is no matrix or kernel that all its inputs meet alone (recurrent, grouped, tied or a table)"
        elif form.among and tensor.shape[read.dim] % form.among:
            reason = f"its {tensor.shape[read.dim]} inputs make no groups of {form.among}"
        groups.append(
            Group(
                f"{name}#weights" if name in taken else name, "weight",
                _THINNED + 1 if form.among else -(-rows // form.rows) * -(-columns // form.columns),
                (Member(name),), share_params=tensor.numel() / total, pattern=str(form), frozen_reason=reason,
            )
        )  # fmt: skip
    return replace(traced, groups=(*traced.groups, *groups))


def masks(traced: Traced, ranking: Mapping[str, Tensor], plan: Plan, slices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By weight that the plan thins out, which elements stay (bool, of the shape that is left when slices are cut).

    ranking: of a group of kind weight, one score an element of the whole weight, in its order.
    """
    found: dict[str, Tensor] = {}
    groups = {group.name: group for group in traced.groups if group.kind == "weight"}
    for name, count in plan.keep:
        group = groups.get(name)
        if group is None or count == group.size:
            continue
        (member,) = group.members
        layouts = traced.layouts[member.tensor]
        scores = ranking[name].view([size(layout) for layout in layouts])
        for dim, layout in enumerate(layouts):
            kept = positions(layout, slices)
            scores = scores if kept is None else scores.index_select(dim, kept)
        found[member.tensor] = mask(
            scores, traced.reading[member.tensor].dim, Pattern.parse(group.pattern), count / group.size
        )
    return found


def spread(scores: Tensor, layouts: Sequence[Layout], slices: Mapping[str, Tensor]) -> Tensor:
    """Scores of the elements that are left of a weight as scores of the whole one's; those that are gone come last.

    scores: one an element, in its order; layouts: of the whole weight; slices: by group, those that are left.
    """
    kept = [positions(layout, slices) for layout in layouts]
    places = [torch.arange(size(layout)) if each is None else each for layout, each in zip(layouts, kept, strict=True)]
    whole = torch.full([size(layout) for layout in layouts], -torch.inf, dtype=scores.dtype, device=scores.device)
    whole[torch.meshgrid(*places, indexing="ij")] = scores.view([len(each) for each in places])
    return whole.flatten()


def mask(scores: Tensor, dim: int, pattern: Pattern, share: float) -> Tensor:
    """Which elements stay, by their scores; dim: where the inputs are; share: of elements or of blocks."""
    matrix = _matrix(scores, dim)
    if pattern.among:
        inputs = scores.movedim(dim, -1)
        whole = inputs.shape[-1] // pattern.among * pattern.among
        parts = inputs[..., :whole].unflatten(-1, (-1, pattern.among))
        order = parts.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        kept = torch.ones_like(inputs, dtype=torch.bool)
        kept[..., :whole] = (order < pattern.keep).flatten(-2)
        return kept.movedim(-1, dim)
    means = _of_blocks(matrix, pattern)
    blocks = means.flatten()
    order = blocks.argsort(descending=True, stable=True)[: max(round(share * len(blocks)), 1)]
    chosen = torch.zeros_like(blocks, dtype=torch.bool)
    chosen[order] = True
    grid = chosen.view(means.shape).repeat_interleave(pattern.rows, 0).repeat_interleave(pattern.columns, 1)
    return _unmatrix(grid[: matrix.shape[0], : matrix.shape[1]], scores, dim)


def share_of(mask: Tensor, dim: int, pattern: Pattern) -> float:
    """Which share of elements or of blocks a mask leaves; dim: where the inputs are."""
    return float((_of_blocks(_matrix(mask.double(), dim), pattern) > 0).double().mean())


def thin(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero what the masks leave out, in place."""
    own = dict(named_tensors(model)) if masks else {}
    with torch.no_grad():
        for name in masks.keys() & own.keys():  # a dropped layer has no weights
            own[name].masked_fill_(~masks[name].to(own[name].device), 0)


def _of_blocks(matrix: Tensor, pattern: Pattern) -> Tensor:
    """The mean of each block, those at the edges over what there is of them."""
    padding = (0, -matrix.shape[1] % pattern.columns, 0, -matrix.shape[0] % pattern.rows)
    summed, counted = (
        functional.pad(each, padding).unflatten(0, (-1, pattern.rows)).unflatten(-1, (-1, pattern.columns)).sum((1, 3))
        for each in (matrix, torch.ones_like(matrix))
    )
    means: Tensor = summed / counted
    return means


def _matrix(tensor: Tensor, dim: int) -> Tensor:
    """(results, inputs x taps)."""
    return tensor.movedim(dim, 1).flatten(1)


def _unmatrix(matrix: Tensor, like: Tensor, dim: int) -> Tensor:
    return matrix.reshape(like.movedim(dim, 1).shape).movedim(1, dim)
