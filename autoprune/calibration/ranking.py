"""From a criterion to scores: gather what it looks at, show it each group. Knows no criterion by name but the one that
stands in where a group has nothing that a criterion looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.calibration import gradients, moments
from autoprune.core.group import Group
from autoprune.criteria import Moments, Reads, Scored, Sensitivity, View, l2
from autoprune.errors import SurgeryError, UsageError
from autoprune.surgery import Traced
from autoprune.surgery.contractions import Contraction
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import slice_of_position
from autoprune.tasks.task import Task

#: What ranks a group without readers, or with gradients of zero.
_INSTEAD: Final = l2


@dataclass(frozen=True)
class Ranking:
    """scores: by group, one a slice (size,), float64, higher is more important; layers have no slices. notes: which
    groups a criterion could not rank, and what ranked them."""

    scores: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def rank(
    criterion: ModuleType,
    model: nn.Module,
    traced: Traced,
    task: Task | None = None,
    known: Mapping[str, Moments] | None = None,
) -> Ranking:
    """Scores of every group of slices that may be cut.

    A slice whose weights are all zero comes last, whatever the criterion. task: the model's, for criteria that look at
    data; known: moments that were gathered already.

    Raises:
        UsageError: the criterion looks at data and there is no task. TaskError: gradients cannot be taken.
        SurgeryError: a criterion returned other than one finite number a slice.
    """
    needs, name = getattr(criterion, "NEEDS", ""), criterion.__name__.rpartition(".")[2]
    if needs and task is None:
        raise UsageError(
            expected=f"a task, as the criterion '{name}' looks at {needs}",
            received="a model alone",
            cure="pass task=, or a criterion that looks at weights, such as l2",
        )
    entering: Mapping[str, Moments] = {}
    sensitivities: Mapping[str, Sensitivity] = {}
    if needs == "activations" and task is not None:
        entering = moments.gather(task, set(traced.reading)) if known is None else known
    if needs == "gradients" and task is not None:
        sensitivities = gradients.gather(task, lambda tensors: _all_views(traced, tensors, {}))
    scores: dict[str, Tensor] = {}
    instead: list[str] = []
    for group, views in _all_views(traced, _parameters(model), entering):
        shown = Scored(group, views[0].size, tuple(views), sensitivities.get(group))
        blind = (needs == "activations" and not shown.readers) or (
            needs == "gradients" and not (shown.sensitivity and shown.sensitivity.gradient.any())
        )
        instead += [group] * blind
        scores[group] = _checked((_INSTEAD if blind else criterion).score(shown), shown, name)
    notes = [f"'{name}' sees no {needs} of {', '.join(instead)}: ranked by l2"] if instead else []
    return Ranking(scores, tuple(notes))


def views(
    group: Group,
    traced: Traced,
    tensors: Mapping[str, Tensor],
    entering: Mapping[str, Moments],
) -> Iterator[View]:
    """What a group touches: one view for each place where it stands in a dimension, or one of all single weights."""
    for member in group.members:
        if member.tensor not in tensors:
            continue
        if member.dim is None:
            yield _elements(member.tensor, tensors[member.tensor], traced, entering)
            continue
        tensor = tensors[member.tensor]
        moved = (tensor.abs() if tensor.is_complex() else tensor).movedim(member.dim, 0).double()
        rows = moved.reshape(len(moved), -1)
        role = _role(member.tensor, member.dim, tensor, traced.reading)
        found = entering.get(member.tensor) if role == "in" else None
        reads = None if found is None else Reads(found, torch.arange(len(found.mean)).view(found.inputs, found.taps))
        for slices in slice_of_position(traced.layouts[member.tensor][member.dim], group.name):
            yield View(member.tensor, rows, slices, group.size, role, reads)


def _elements(name: str, tensor: Tensor, traced: Traced, entering: Mapping[str, Moments]) -> View:
    size, found, reads = tensor.numel(), entering.get(name), None
    if found is not None:
        ordered = tensor.movedim(traced.reading[name].dim, 0)
        places = torch.arange(found.inputs * found.taps).view(found.inputs, 1, found.taps)
        places = places.expand(found.inputs, ordered.numel() // (found.inputs * found.taps), found.taps)
        reads = Reads(found, places.reshape(ordered.shape).movedim(0, traced.reading[name].dim).reshape(-1, 1))
    rows = tensor.double().reshape(-1, 1)
    return View(name, rows, torch.arange(size), size, "elements", reads)


def _role(name: str, dim: int, tensor: Tensor, reading: Mapping[str, Contraction]) -> str:
    if tensor.dim() == 1:
        return "other" if "bias" in name.rpartition(".")[2] else "scale"
    if name in reading:
        return "in" if dim == reading[name].dim else "out" if dim == 1 - reading[name].dim else "other"
    return "out" if dim == 0 else "other"


def _all_views(
    traced: Traced,
    tensors: Mapping[str, Tensor],
    entering: Mapping[str, Moments],
) -> Iterator[tuple[str, list[View]]]:
    for group in traced.open:
        if group.kind != "layer":
            seen = list(views(group, traced, tensors, entering))
            if seen:
                yield group.name, seen


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: each.detach().cpu() for name, each in named_tensors(model) if isinstance(each, nn.Parameter)}


def _checked(scores: Tensor, group: Scored, criterion: str) -> Tensor:
    """The scores with dead slices below all others."""
    if scores.shape != (group.size,) or not torch.isfinite(scores).all():
        raise SurgeryError(
            expected=f"{group.size} finite scores of '{group.name}' from the criterion '{criterion}'",
            received=f"shape {list(scores.shape)}" if scores.shape != (group.size,) else "nan or infinity",
            cure="check the model's weights for nan, or choose another criterion",
        )
    scores = scores.double()
    dead = group.total(lambda view: view.rows.abs().sum(1)) == 0
    return torch.where(dead, scores.min() - 1, scores) if dead.any() else scores
