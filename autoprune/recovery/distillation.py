"""A few steps of descent towards the dense model's answers, on inputs of the train split; labels are not looked at.

Knows the task's distance; not how the model was repaired before. Some samples are held out. Steps go in stretches:
one after which the model is no nearer on these is taken back, and smaller steps follow. So a model that nothing helps
stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.calibration.batches import divided
from autoprune.errors import AutopruneError, TaskError, UsageError, describe
from autoprune.surgery.modes import evaluating
from autoprune.surgery.random_state import forked_random
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

#: Steps of Adam in all, and in a stretch.
_STEPS, _STRETCH = 60, 10
#: The first rate, a share of each tensor's root mean square, and the least of these that counts, as biases may be zero;
#: and what is left of the rate after a stretch that did not help.
_RATE, _LEAST, _LOWER = 0.01, 0.01, 0.25
#: Share of the samples that is held out, or of the batches, where these cannot be divided.
_HELD: Final = 0.2
#: Bytes of batches and answers after which no more are kept.
_BYTES: Final = 1 << 30


class Distillation:
    """Descends from cut models towards one task's model, whose answers are kept.

    Raises:
        UsageError: the task does not say how outputs of its model in eval mode compare.
        TaskError: no gradient of the distance can be taken in eval mode, or there is nothing to hold out.
    """

    def __init__(self, task: Task) -> None:
        if task.distance is None or task.teach is not None:
            raise UsageError(
                expected="a task that compares the outputs of two models, by its distance",
                received=f"'{task.name}' {'without distance=' if task.distance is None else 'with teach='}",
                cure="pass Task(distance=...) alone, or --repair sequential",
            )
        self._task, self._distance = task, task.distance
        self._shown, self._held = self._answered()
        if not self._held:
            raise TaskError(
                expected="two samples of splits['train'] at least, to descend on one and to hold out another",
                received="one batch that shows no two samples",
                cure="add some, or take --repair sequential",
            )
        self._check()

    def _answered(self) -> tuple[list[Any], list[Any]]:
        """Batches with what the dense model answers: to descend on, and held out."""
        task, size = self._task, 0
        kept: tuple[list[Any], list[Any]] = ([], [])
        with evaluating(task.model), torch.no_grad(), forked_random(0):
            for place, batch in enumerate(islice(task.batches("train"), _STEPS)):
                apart, rest = divided(batch, _HELD)
                if apart is None and place % round(1 / _HELD) == 1:
                    apart, rest = rest, None
                for parts, part in zip(kept, (rest, apart), strict=True):
                    if part is not None:
                        parts.append((part, task.forward(task.model, part)))
                        size += _bytes(parts[-1])
                if size > _BYTES and all(kept):
                    break
        return kept

    def _check(self) -> None:
        """Take one gradient, of the dense model."""
        try:
            with _learning(self._task.model) as weights, forked_random(0):
                torch.autograd.grad(self._apart(self._task.model, self._shown[0]), weights, allow_unused=True)
        except AutopruneError:
            raise
        except Exception as error:
            raise TaskError(
                expected="a gradient of Task.distance between two outputs of the model in eval mode",
                received=describe(error),
                cure="mend the distance, or take --repair sequential",
            ) from error

    def repair(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Descend in place, in eval mode; what was thinned out stays zero."""
        with _learning(model) as weights, forked_random(0):
            rates = [_RATE * max(float(weight.detach().square().mean().sqrt()), _LEAST) for weight in weights]
            best, reached, optimizer = _copied(weights), self._left(model), _adam(weights)
            for begun in range(0, _STEPS, _STRETCH):
                for step in range(begun, begun + _STRETCH):
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group["lr"] = rate * (1 - step / _STEPS)
                    optimizer.zero_grad()
                    self._apart(model, self._shown[step % len(self._shown)]).backward()
                    optimizer.step()
                    thin(model, masks)
                left = self._left(model)
                if left < reached:  # never so of what is no number
                    best, reached = _copied(weights), left
                else:
                    rates, optimizer = [_LOWER * rate for rate in rates], _adam(weights)
                    _put(weights, best)
            for weight in weights:
                weight.grad = None

    def _apart(self, model: nn.Module, answered: Any) -> Tensor:
        batch, answers = answered
        return self._distance(self._task.forward(model, batch), answers)

    def _left(self, model: nn.Module) -> float:
        """How far the model is from the dense one on what is held out."""
        with torch.no_grad():
            return sum(float(self._apart(model, each)) for each in self._held)


@contextmanager
def _learning(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Inside, in eval mode, all weights take gradients."""
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    fixed = [weight for weight in weights if not weight.requires_grad]
    with evaluating(model), torch.enable_grad():
        try:
            for weight in fixed:
                weight.requires_grad_(True)
            yield weights
        finally:
            for weight in fixed:
                weight.requires_grad_(False)


def _adam(weights: Sequence[nn.Parameter]) -> torch.optim.Adam:
    """With a rate of its own for each weight."""
    return torch.optim.Adam([{"params": [weight]} for weight in weights])


def _copied(weights: Sequence[nn.Parameter]) -> list[Tensor]:
    return [weight.detach().clone() for weight in weights]


def _put(weights: Sequence[nn.Parameter], old: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for weight, each in zip(weights, old, strict=True):
            weight.copy_(each)


def _bytes(found: Any) -> int:
    return sum(leaf.nbytes for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor))
