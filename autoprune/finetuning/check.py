"""Whether a task can be trained as it is. Knows the first batch and one step on it; nothing of candidates.

Outputs may be of another kind in train mode than in eval mode: what trains is tried in the modes that it will run in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor

from autoprune import registry
from autoprune.errors import AutopruneError, TaskError, UsageError, describe
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.own_training import check_own_training
from autoprune.finetuning.teacher import Teacher
from autoprune.options.defaults import DISTILL
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced, twin
from autoprune.surgery.random_state import forked_random
from autoprune.tasks.task import Task

_WITHOUT: Final = "do not fine-tune (--finetune-epochs 0, finetune_epochs=0)"


def check_training(task: Task, asked: TrainingOptions | None = None, traced: Traced | None = None) -> None:
    """Take one step on the first batch of "train" with a copy of the model; nothing happens where nothing is trained.

    A training of the user's own is not run: only how it is called is looked at.

    Args:
        task: Whose functions are tried; its model stays as it is.
        asked: How to train, where that is said already.
        traced: As in `Teacher`.

    Raises:
        UsageError: what is asked for is the business of the task's own training; a distiller finds nothing to compare.
        TaskError: the model does not run in train mode, its loss or the distance to the dense model's outputs is no
            finite scalar there, or no gradient or step can be taken of them.
    """
    if task.train is not None:  # a whole epoch, too long to be tried
        check_own_training(task.train)
        unused = [name for name in ("optimizer", "scheduler", "augment") if getattr(task, name) is not None]
        if unused:
            raise TaskError(
                expected="a task with train= that has no other say in training",
                received=" and ".join(f"{name}=" for name in unused),
                cure="leave them out: Task.train has its own",
            )
        if asked is not None and (asked.rate is not None or asked.steps or asked.distill != DISTILL):
            raise UsageError(
                expected="neither a rate nor steps nor distillers for the fine-tuning of a task with train=",
                received=asked.told.removeprefix(", "),
                cure="leave them out: Task.train has its own",
            )
        return
    teacher = Teacher.of(task, asked, traced)
    if task.loss is None and teacher is None:
        return
    batch = next(iter(task.batches("train")))
    model = twin(task.model, meta=False)[0].train()
    with torch.enable_grad(), forked_random(0):
        outputs = _run(
            lambda: task.forward(model, batch),
            "Task.forward to run the model in train mode on a batch of splits['train']",
            "pass forward=a function of the model and a batch; it may ask model.training",
        )
        losses = []
        if (own := task.loss) is not None:
            losses.append(_scalar("Task.loss", "outputs in train mode", lambda: own(outputs, batch)))
        if teacher is not None:
            _run(
                lambda: teacher.answer(batch),
                f"Task.{'teach' if task.teach else 'forward'} to run the dense model in eval mode on a batch of "
                "splits['train']",
                "pass teach=a function of the dense model and a batch",
            )
            losses.extend(_distances(task, teacher, CutModel(model), batch))
        if not any(loss.requires_grad for loss in losses):
            name = "Task.distance" if task.loss is None else "Task.loss"
            raise _wrong(name, "outputs in train mode", "one that no gradient can be taken of")
        options = asked or TrainingOptions(epochs=1)
        steps = max(options.epochs, 1) * (options.steps or task.split("train").count or 1)
        _run(
            lambda: Training(CutModel(model), task, teacher, options, 0).burst([batch], steps),
            "a training step on a batch of splits['train'], in train mode",
            f"mend the loss or the optimizer, or {_WITHOUT}",
        )


def _distances(task: Task, teacher: Teacher, student: CutModel, batch: Any) -> Iterator[Tensor]:
    """By each distiller."""
    with teacher.watching(student.model, batch) as at:
        outputs = task.forward(student.model, batch)
    compared = "outputs in train mode and the dense model's in eval mode"
    for name, _, measure in teacher.distances(student, outputs, at, batch):
        if name == DISTILL:
            yield _scalar("Task.distance", compared, measure)
            continue
        nothing = UsageError(
            expected=f"{registry.load('distillers', name).NEEDS} for the distiller '{name}'",
            received="nothing of the kind in train mode on a batch of splits['train']",
            cure=f"leave {name} out of --distill",
        )
        yield _scalar(f"the distiller '{name}'", compared, measure, nothing)


def _run(work: Callable[[], Any], expected: str, cure: str) -> Any:
    try:
        return work()
    except AutopruneError:
        raise
    except Exception as error:
        raise TaskError(expected=expected, received=describe(error), cure=cure) from error


def _scalar(name: str, of: str, work: Callable[[], Any], nothing: AutopruneError | None = None) -> Tensor:
    """What the work gives, checked; nothing: raised where that is None."""
    try:
        value = work()
    except Exception as error:
        raise _wrong(name, of, describe(error)) from error
    if value is None and nothing is not None:
        raise nothing
    if not isinstance(value, Tensor):
        raise _wrong(name, of, type(value).__name__)
    if value.numel() != 1:
        raise _wrong(name, of, f"a tensor of shape {list(value.shape)}")
    number = float(value.detach())
    if not math.isfinite(number):
        raise _wrong(name, of, f"{number:g}")
    return value


def _wrong(name: str, of: str, received: str) -> TaskError:
    hint = "say with teach= what is distilled from, " if name == "Task.distance" else ""
    return TaskError(
        expected=f"{name} to return a finite scalar tensor for {of}, of a batch of splits['train']",
        received=received,
        cure=f"mend it, {hint}leave {name.removeprefix('Task.')} out, or {_WITHOUT}",
    )
