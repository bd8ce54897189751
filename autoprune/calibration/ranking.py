"""From a criterion to scores: gather what it looks at, show it each group. Knows no criterion by name but the one that
stands in where a group has nothing that a criterion looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.calibration import gradients, moments
from autoprune.calibration.products import energies
from autoprune.core.group import Group
from autoprune.core.reporter import SILENT, Reporter
from autoprune.criteria import GradientStats, GroupView, InputStats, Moments, View, l2, needs_of
from autoprune.errors import SurgeryError, UsageError
from autoprune.surgery import Traced
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import slice_of_position
from autoprune.surgery.made_weights import made_weights
from autoprune.tasks.task import Task

#: What ranks a group without readers or products, or with gradients of zero.
_INSTEAD: Final = l2


@dataclass(frozen=True)
class Ranking:
    """scores: by group, one a slice (size,), float64, higher is more important; layers have no slices. instead: groups
    that the criterion could not rank, and what stands in did; notes: that in words."""

    scores: Mapping[str, Tensor]
    instead: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def rank(
    criterion: ModuleType,
    model: nn.Module,
    traced: Traced,
    task: Task | None = None,
    known: Mapping[str, Moments] | None = None,
    reporter: Reporter = SILENT,
) -> Ranking:
    """Scores of every group of slices that may be cut.

    A slice whose weights are all zero comes last, whatever the criterion. task: the model's, for criteria that look at
    data; known: moments that were gathered already.

    Raises:
        UsageError: the criterion looks at data and there is no task. TaskError: gradients cannot be taken.
        SurgeryError: a criterion returned other than one finite number a slice.
    """
    needs, name = needs_of(criterion), criterion.__name__.rpartition(".")[2]
    if needs and task is None:
        raise UsageError(
            expected=f"a task, as the criterion '{name}' looks at {' and '.join(needs)}",
            received="a model alone",
            cure="pass task=, or a criterion that looks at weights, such as l2",
        )
    scales = factors_of_normalisation(model)
    entering: Mapping[str, Moments] = {}
    sensitivities: Mapping[str, GradientStats] = {}
    if "activations" in needs and task is not None:
        entering = moments.gather(task, traced.reading) if known is None else known
    if "gradients" in needs and task is not None:
        sensitivities = gradients.gather(task, Sight(traced, scales, {}).of)
    made = {name: each.cpu() for name, each in made_weights(model).items() if name in traced.made}
    own = _parameters(model)
    scores: dict[str, Tensor] = {}
    multiplied: list[str] = []
    unseen: list[str] = []
    count = sum(group.kind != "layer" for group in traced.open)
    with reporter.track(f"ranking by {name}", count) as advance:
        for group, views in Sight(traced, scales, entering, made).of(own):
            shown = GroupView(group, views[0].size, tuple(views), sensitivities.get(group))
            blind = ("activations" in needs and not shown.readers) or (
                "gradients" in needs and not (shown.sensitivity and shown.sensitivity.gradient.any())
            )
            basis = traced.bases.get(group) if blind else None
            found = energies(basis, shown.size, own, entering) if basis else None
            if found is None:
                unseen += [group] * blind
                found = (_INSTEAD if blind else criterion).score(shown)
            else:
                multiplied.append(group)
            scores[group] = _checked(found, shown, name)
            advance(group)
    notes = [
        f"'{name}' sees no {' or '.join(needs)} of {', '.join(groups)}: ranked by {how}"
        for groups, how in ((unseen, "l2"), (multiplied, "what they add to products"))
        if groups
    ]
    return Ranking(scores, (*unseen, *multiplied), tuple(notes))


def factors_of_normalisation(model: nn.Module) -> frozenset[str]:
    """Names of the factors of normalisation layers, which are known by their class's name."""
    return frozenset(
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        for name, _ in module.named_parameters(recurse=False)
        if name not in ("bias", "beta")
    )


@dataclass(frozen=True)
class Sight:
    """How groups see the tensors of a model. scales: names of factors of normalisation; entering: moments by weight;
    made: weights that are made of others, as they are now."""

    traced: Traced
    scales: frozenset[str]
    entering: Mapping[str, Moments]
    made: Mapping[str, Tensor] = field(default_factory=dict)

    def of(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, list[View]]]:
        """Each group of slices or weights with what it touches among the tensors."""
        for group in self.traced.open:
            if group.kind != "layer":
                views = list(self.views(group, tensors))
                if views:
                    yield group.name, views

    def views(self, group: Group, tensors: Mapping[str, Tensor]) -> Iterator[View]:
        """One view for each place where a group stands in a dimension, or one of all single weights.

        Weights that are made of others stand for what they are made of, where they have the group.
        """
        stood_for: set[str] = set()
        for name, weight in self.made.items():
            for dim, layout in enumerate(self.traced.made[name].layouts):
                for slices in slice_of_position(layout, group.name):
                    stood_for |= self.traced.made[name].ingredients
                    role = "out" if dim == 0 else "other"
                    yield View(tensor=name, rows=_rows(weight, dim), slices=slices, size=group.size, role=role)
        for member in group.members:
            if member.tensor not in tensors or member.tensor in stood_for:
                continue
            tensor = tensors[member.tensor]
            if member.dim is None:
                yield self._elements(member.tensor, _real(tensor))
                continue
            rows = _rows(tensor, member.dim)
            role = self.role(member.tensor, member.dim, tensor)
            found = self.entering.get(member.tensor) if role == "in" else None
            reads = (
                InputStats(found, found.entries(torch.arange(found.inputs)).view(found.inputs, -1)) if found else None
            )
            for slices in slice_of_position(self.traced.layouts[member.tensor][member.dim], group.name):
                yield View(tensor=member.tensor, rows=rows, slices=slices, size=group.size, role=role, reads=reads)

    def _elements(self, name: str, tensor: Tensor) -> View:
        found, reads, size = self.entering.get(name), None, tensor.numel()
        if found is not None:
            dim = self.traced.reading[name].dim
            ordered = tensor.movedim(dim, 0)
            places = torch.arange(found.inputs * found.taps).view(found.inputs, 1, found.taps)
            places = places.expand(found.inputs, size // (found.inputs * found.taps), found.taps)
            reads = InputStats(found, places.reshape(ordered.shape).movedim(0, dim).reshape(-1, 1))
        return View(
            tensor=name, rows=tensor.reshape(-1, 1), slices=torch.arange(size), size=size, role="elements", reads=reads
        )

    def role(self, name: str, dim: int, tensor: Tensor) -> str:
        """What a dimension of a tensor is to its group; see `View`."""
        reading = self.traced.reading.get(name)
        if tensor.dim() == 1:
            return "scale" if name in self.scales else "other"
        if reading is None:
            return "out" if dim == 0 else "other"
        return "in" if dim == reading.dim else "out" if dim == 1 - reading.dim else "other"


def _real(tensor: Tensor) -> Tensor:
    return (tensor.abs() if tensor.is_complex() else tensor).double()


def _rows(tensor: Tensor, dim: int) -> Tensor:
    """(positions of the dimension, elements), float64."""
    return _real(tensor).movedim(dim, 0)[:, None].flatten(1)


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: each.detach().cpu() for name, each in named_tensors(model) if isinstance(each, nn.Parameter)}


def _checked(scores: Tensor, group: GroupView, criterion: str) -> Tensor:
    """The scores with dead slices below all others."""
    expected = f"{group.size} finite scores of '{group.name}' from the criterion '{criterion}'"
    if not isinstance(scores, Tensor) or scores.shape != (group.size,):
        shape = f"shape {list(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        cure = "return one number a slice, as a tensor (size,), from its score"
        raise SurgeryError(expected=expected, received=shape, cure=cure)
    if not torch.isfinite(scores).all():
        cure = "check the model's weights for nan, or choose another criterion"
        raise SurgeryError(expected=expected, received="nan or infinity", cure=cure)
    scores = scores.double()
    dead = group.total(lambda view: view.rows.abs().sum(1)) == 0
    return torch.where(dead, scores.min() - 1, scores) if dead.any() else scores
