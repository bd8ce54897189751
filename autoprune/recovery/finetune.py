"""Short training of a pruned model with the dense one as its teacher. Knows the recipe; not which models deserve it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.reporter import Advance
from autoprune.surgery.modes import evaluating
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

RATE: Final = 5e-3
#: Fewer epochs have no time to make good what a high rate undoes at first, and get so much less of it.
_UNHURRIED: Final = 8
_CLIP: Final = 1.0


def teacher_of(task: Task) -> nn.Module | None:
    """A copy of the dense model arranged to run fast; None where the task does not say how outputs are compared."""
    if task.loss is None or task.distance is None:
        return None
    teacher = copy.deepcopy(task.model).eval()
    _arrange(teacher, torch.channels_last)
    return teacher


def finetune(
    model: nn.Module,
    task: Task,
    teacher: nn.Module | None,
    epochs: int,
    seed: int,
    advance: Advance,
    masks: Mapping[str, Tensor] | None = None,
) -> None:
    """Train in place on the train split, leaving eval mode; nothing happens where the task has no loss.

    The task's own loss, plus the distance to the teacher's outputs where there is one (Hinton et al. 2015); AdamW
    under one cosine, gradients clipped to norm 1. `advance` is called after each epoch. masks: by weight, the elements
    that are trained; the others stay zero.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if task.loss is None or epochs == 0 or not weights:
        return
    batches = task.split("train")
    steps = epochs * _count(batches)
    _arrange(model, torch.channels_last)
    optimizer = torch.optim.AdamW(weights, RATE * min(epochs / _UNHURRIED, 1))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with evaluating(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        for _ in range(epochs):
            for batch in batches:
                optimizer.zero_grad()
                outputs = task.forward(model, batch)
                loss = task.loss(outputs, batch)
                if teacher is not None and task.distance is not None:
                    with torch.no_grad():
                        taught = task.forward(teacher, batch)
                    loss = loss + task.distance(outputs, taught)
                loss.backward()
                nn.utils.clip_grad_norm_(weights, _CLIP)
                optimizer.step()
                thin(model, masks or {})
                schedule.step()
            advance(f"loss {loss.item():.3f}")
    _arrange(model, torch.contiguous_format)
    model.eval()


def _count(batches: Iterable[Any]) -> int:
    """How many batches one pass has; loaders of streams have a length that raises."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return sum(1 for _ in batches)


def _arrange(model: nn.Module, layout: torch.memory_format) -> None:
    """Channels-last convolutions run and train up to twice as fast on processors; values do not change."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
