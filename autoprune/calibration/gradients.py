"""How the loss answers to each slice, from one pass of gradients over the calibration split.

Knows the task's loss; keeps four numbers a slice and nothing of a single sample. Not what the numbers are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.calibration.batches import pieces
from autoprune.criteria import GradientStats, View
from autoprune.errors import TaskError, describe
from autoprune.surgery.find import named_tensors
from autoprune.surgery.modes import evaluating, learning
from autoprune.tasks.task import Task

#: Samples whose gradients are averaged before they are squared: few, so that what cancels on the whole still counts.
SAMPLES: Final = 8
BATCHES: Final = 64

#: Tensors by name -> each group with what it sees of them.
Views = Callable[[Mapping[str, Tensor]], Iterator[tuple[str, Sequence[View]]]]


def gather(task: Task, views: Views) -> dict[str, GradientStats]:
    """By group, averages over at most `BATCHES` small batches.

    Raises:
        TaskError: the task has no loss, or its gradients are not finite.
    """
    if task.loss is None:
        raise TaskError(
            expected=f"a loss of the task '{task.name}', for a criterion that looks at gradients",
            received="none",
            cure="pass Task(loss=...), or choose a criterion that looks at weights or activations",
        )
    weights = {name: each for name, each in named_tensors(task.model) if isinstance(each, torch.nn.Parameter)}
    weights = {name: each for name, each in weights.items() if each.is_floating_point() and not each.is_meta}
    own = {name: weight.detach().cpu() for name, weight in weights.items()}
    loss_of = partial(_loss, task)
    sums: dict[str, Tensor] = {}
    count = 0
    batches = iter(task.batches("calibration"))
    first = next(batches)
    with _differentiable(weights.values()):
        mode, divisible = _how(task.model, loss_of, first)
    with mode(task.model), _differentiable(weights.values()):
        for batch in islice(_small(chain([first], batches), divisible=divisible), BATCHES):
            found = torch.autograd.grad(loss_of(batch), list(weights.values()), allow_unused=True)
            slopes = {
                name: (torch.zeros_like(weight) if slope is None else slope).detach().cpu()
                for (name, weight), slope in zip(weights.items(), found, strict=True)
            }
            for (group, held), (_, sloping) in zip(views(own), views(slopes), strict=True):
                added = _numbers(held, sloping)
                sums[group] = sums[group] + added if group in sums else added
            count += 1
    means = {group: each / count for group, each in sums.items()}
    wrong = [group for group, each in means.items() if not torch.isfinite(each).all()]
    if wrong:
        raise TaskError(
            expected=f"finite gradients of the loss of the task '{task.name}'",
            received=f"nan or infinite ones in {len(wrong)} groups, such as '{wrong[0]}'",
            cure="check the calibration split and the loss, or choose a criterion that looks at weights",
        )
    return {group: GradientStats(*each) for group, each in means.items()}


def _numbers(weights: Sequence[View], slopes: Sequence[View]) -> Tensor:
    """z, |z|, z^2 and the sum of |slope|, by slice (4, size)."""
    products = [own.sum((own.rows * slope.rows).sum(1)) for own, slope in zip(weights, slopes, strict=True)]
    z = torch.stack(products).sum(0)
    steep = torch.stack([slope.sum(slope.rows.abs().sum(1)) for slope in slopes]).sum(0)
    return torch.stack([z, z.abs(), z.square(), steep])


def _loss(task: Task, batch: Any) -> Tensor:
    """The loss on a batch, checked."""
    try:
        loss = task.loss(task.forward(task.model, batch), batch) if task.loss else None
    except Exception as error:
        raise TaskError(
            expected=f"the task '{task.name}' to compute its loss on the calibration split",
            received=describe(error),
            cure="run forward and loss on one of its batches to find the cause",
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        shape = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TaskError(
            expected=f"a scalar loss of the task '{task.name}' that gradients can be taken of",
            received=shape if not isinstance(loss, Tensor) or loss.numel() != 1 else "one that was detached",
            cure="return for example torch.nn.functional.cross_entropy(outputs, labels)",
        )
    return loss


def _how(
    model: nn.Module, loss_of: Callable[[Any], Tensor], batch: Any
) -> tuple[Callable[[nn.Module], AbstractContextManager[None]], bool]:
    """In which mode the loss exists, and whether batches can be cut: a batch that is a graph, for example, cannot.

    Raises:
        TaskError: it exists in none; what it said in eval mode.
    """
    reason: TaskError | None = None
    for mode in (evaluating, learning):
        for part, divisible in ((next(pieces(batch, SAMPLES)), True), (batch, False)):
            try:
                with mode(model):
                    loss_of(part)
            except TaskError as error:
                reason = error if mode is evaluating else reason
            else:
                return mode, divisible
    raise reason or RuntimeError("no mode was tried")


def _small(batches: Iterable[Any], *, divisible: bool) -> Iterator[Any]:
    """Batches in small pieces, or as they are."""
    for batch in batches:
        yield from pieces(batch, SAMPLES) if divisible else [batch]


@contextmanager
def _differentiable(weights: Collection[Tensor]) -> Iterator[None]:
    """Gradients are on inside, frozen weights have them too; afterwards each is as it was."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # its recurrences only learn in train mode
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
