"""Slices that are zero for a time, while the model that has them is trained. Knows counts and places; not when."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.calibration.ranking import rank
from autoprune.core.plan import Plan
from autoprune.registry import load
from autoprune.surgery import Traced, kept_slices
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions, size
from autoprune.surgery.sparsity import masks, thin

#: By what slices are chosen while weights change from step to step: it needs no data.
_MAGNITUDE = "l1"


def thinned(
    model: nn.Module,
    traced: Traced,
    plan: Plan,
    ranking: Mapping[str, Tensor] | None = None,
    *,
    soft: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a plan would keep of a model as it is now.

    Args:
        model: Of the shape that was traced.
        traced: Its groups.
        plan: How many slices of each group stay.
        ranking: Scores of slices by group; None: the sums of absolute weights.
        soft: Whether what is zero is to learn on; see `slice_masks`.

    Returns:
        The slices that stay by group, and by tensor which elements may be other than zero (bool, of its shape).
    """
    if ranking is None:
        ranking = rank(load("criteria", _MAGNITUDE), model, traced=traced).scores
    slices = kept_slices(traced, ranking, plan)
    found = dict(slice_masks(model, traced, slices, soft=soft))
    for name, mask in masks(traced, ranking, plan, {}).items():
        found[name] = mask & found[name] if name in found else mask
    return slices, found


def slice_masks(
    model: nn.Module, traced: Traced, slices: Mapping[str, Tensor], *, soft: bool = False
) -> dict[str, Tensor]:
    """By tensor, what is left of it when slices are set to zero in place of being cut (bool, of its shape).

    A slice that is zero wherever it is written and read has no gradient. soft: only the weights that write it are zero
    (He et al. 2018, filters), so that it grows again; slices that no weight writes as its results are zero everywhere.
    """
    found: dict[str, Tensor] = {}
    writing = _writing(traced) if soft else {}
    for name, tensor in named_tensors(model):
        if not isinstance(tensor, nn.Parameter):  # statistics of what is zero for a time are still gathered
            continue
        mask = None
        for dim, layout in enumerate(traced.layouts.get(name, ())):
            here = {each: kept for each, kept in slices.items() if (name, dim) in writing.get(each, {(name, dim)})}
            kept = positions(layout, here)
            if kept is None:
                continue
            line = torch.zeros(size(layout), dtype=torch.bool)
            line[kept] = True
            shape = [1] * tensor.dim()
            shape[dim] = -1
            mask = line.view(shape).expand(tensor.shape) if mask is None else mask & line.view(shape)
        if mask is not None:
            found[name] = mask
    return found


def _writing(traced: Traced) -> dict[str, set[tuple[str, int | None]]]:
    """By group that weights write as their results, which weights and along which of their dimensions."""
    found = {
        group.name: {
            (member.tensor, member.dim)
            for member in group.members
            if member.tensor in traced.reading and member.dim != traced.reading[member.tensor].dim
        }
        for group in traced.open
    }
    return {name: places for name, places in found.items() if places}


def zero(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Set to zero what may not be other than that, in place."""
    thin(model, kept)
