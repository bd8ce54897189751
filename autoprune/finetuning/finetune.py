"""Short training of a pruned model with the dense one as its teacher, epoch by epoch.

Knows the recipe, and what must be kept to go on after a kill; not which models deserve it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.reporter import Advance
from autoprune.errors import StorageError, TaskError
from autoprune.finetuning.answers import arrange
from autoprune.finetuning.learning_rates import LearningRates
from autoprune.finetuning.optimizer_state import load_optimizer, optimizer_state
from autoprune.finetuning.own_training import own_epoch
from autoprune.finetuning.penalty import Penalty
from autoprune.finetuning.teacher import Teacher
from autoprune.finetuning.watching import Place
from autoprune.options.training_options import HALF, TrainingOptions
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating
from autoprune.surgery.random_state import forked_random
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

#: The rate of AdamW where nobody says another one, and none is tried out.
RATE: Final = 5e-3
_CLIP: Final = 1.0
#: Of weights at each step, in shares of the rate.
_DECAY: Final = 0.01
#: Whatever a model is trained to, `model.` is what counts; `trained.`, where it is another, what training goes on from.
_MODEL, _OPTIMIZER = "model.", "optimizer."


class Training:
    """A model that is trained in place on the train split, one epoch at a time.

    The task's own loss, plus the distances to the teacher where there is one (Hinton et al. 2015), or these alone; the
    task's optimizer or AdamW, at rates of the task's scheduler or of `share_at`; gradients clipped to norm 1. Torch's
    global state is seeded for each epoch, so that one that begins from `state` is the same as one that was never
    interrupted.
    What was thinned out stays zero.
    Where the task trains by itself, it does so for the epoch in place of all this, and what it keeps is its business.
    done: epochs so far; before: epochs of earlier phases.
    """

    def __init__(
        self,
        cut: CutModel,
        task: Task,
        teacher: Teacher | None,
        options: TrainingOptions,
        seed: int,
        penalty: Penalty | None = None,
    ) -> None:
        """penalty: what is added to the gradients. Raises TaskError where the task's optimizer is none."""
        self.cut, self.model, self.done = cut, cut.model, 0
        self._task, self._teacher, self._options, self._seed = task, teacher, options, seed
        self._length, self.before, self._penalty = 0, 0, penalty
        weights = [parameter for parameter in cut.model.parameters() if parameter.requires_grad]
        self._weights = weights if task.loss is not None or teacher is not None else []
        ours = self._weights and task.train is None
        self._optimizer = _optimizer(cut.model, self._weights, task, options) if ours else None
        self._rates = None if self._optimizer is None else LearningRates(self._optimizer, task.scheduler)

    def epoch(self) -> float:
        """Train for one more epoch, leaving eval mode; the last batch's loss. Nothing happens without loss and teacher.

        Raises:
            TaskError: the loss or its gradients are no finite numbers, or there is no batch.
        """
        self.done += 1
        if self._task.train is not None:
            self.before_step(self.done - 1, self._options.epochs)
            seed = self._seed * 1_000_003 + self.done
            return own_epoch(self._task.train, self.model, self.before + self.done - 1, seed, self.after_step)
        if self._optimizer is None:
            return math.nan
        batches = self._task.batches("train")
        self._length = length = self._length or self._options.steps or _count(batches)
        begun = (self.done - 1) * length
        return self.burst(islice(batches, self._options.steps or None), self._options.epochs * length, begun)

    def burst(self, batches: Iterable[Any], steps: int, begun: int = 0) -> float:
        """Train on some batches, leaving eval mode; the last one's loss.

        Args:
            batches: Of which no more are taken than there are steps.
            steps: Of the whole training.
            begun: Steps before these.
        """
        if self._rates is None:
            return math.nan
        loss = math.nan
        seed = self._seed * 1_000_003 + self.done
        with self._arranged(), evaluating(self.model), forked_random(seed):
            self.model.train()
            for place, batch in enumerate(islice(batches, max(steps - begun, 1)), begun):
                self._rates.set(place, steps, self._length or steps)
                self.before_step(place, steps)
                loss = self.step(batch)
        self.model.eval()
        return loss

    def state(self) -> dict[str, Tensor]:
        """All that the next epoch needs, on the processor."""
        found = _named(self.model, _MODEL)
        if self._optimizer is not None:
            found.update(optimizer_state(self._optimizer, _OPTIMIZER))
        if self._penalty is not None:
            found.update(self._penalty.state())
        # Tied tensors share memory, which safetensors does not store.
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        """Go on from a state.

        Raises:
            StorageError: it is one of another model.
        """
        try:
            load_state(self.model, state)
            if self._optimizer is not None:
                load_optimizer(self._optimizer, state, _OPTIMIZER)
        except (RuntimeError, ValueError, KeyError) as error:
            raise StorageError(
                expected="a checkpoint of this model",
                received="one of another shape",
                cure="remove the run's folder `checkpoints`; fine-tuning begins anew",
            ) from error
        if self._penalty is not None:
            self._penalty.load(state)
        self.done = done

    def step(self, batch: Any) -> float:
        """One step on a batch, in the mode that the model is in; its loss, of which nothing is done without one."""
        optimizer = self._optimizer
        if optimizer is None:
            return math.nan
        optimizer.zero_grad()
        half = self._options.precision == HALF
        with torch.autocast(self._weights[0].device.type, torch.bfloat16, enabled=half):
            loss = loss_of(self._task, self._teacher, self.cut, batch)
        if not loss.requires_grad:  # this batch compares nothing with the teacher, and has no loss of its own
            return float(loss)
        loss.backward()
        if self._penalty is not None:
            self._penalty.add(float(loss.detach()))
        length, value = float(nn.utils.clip_grad_norm_(self._weights, _CLIP)), float(loss.detach())
        if not (math.isfinite(length) and math.isfinite(value)):
            raise TaskError(
                expected="a loss and gradients that are finite numbers",
                received=f"a loss of {value:g} with gradients of norm {length:g} in epoch {self.done}",
                cure="check the task's loss on the train split",
            )
        optimizer.step()
        self.after_step()
        return value

    @property
    def length(self) -> int:
        """Steps of an epoch; 0 as long as that is not known."""
        return self._length

    def before_step(self, step: int, steps: int) -> None:
        """Called before each step of `burst`: which one of how many."""
        if self._penalty is not None:
            self._penalty.at(step, steps)

    def after_step(self) -> None:
        """Called when weights have changed."""
        thin(self.model, self.cut.masks)

    def end(self) -> Mapping[str, Tensor]:
        """Called when no more epochs follow, before the model is cut: scores of slices by group, as they were learned.

        Of slices of the dense model; what is left out is for the criterion to rank.
        """
        return {}

    @contextmanager
    def _arranged(self) -> Iterator[None]:
        arrange(self.model, torch.channels_last)
        try:
            yield
        finally:
            arrange(self.model, torch.contiguous_format)


def loss_of(task: Task, teacher: Teacher | None, cut: CutModel, batch: Any) -> Tensor:
    """What is descended: the task's loss where it has one, and the distances to what is taught."""
    seen: AbstractContextManager[Mapping[Place, Tensor]] = nullcontext({})
    with seen if teacher is None else teacher.watching(cut.model, batch) as at:
        outputs = task.forward(cut.model, batch)
    loss = torch.zeros(()) if task.loss is None else task.loss(outputs, batch)
    for _, weight, measure in () if teacher is None else teacher.distances(cut, outputs, at, batch):
        distance = measure()
        loss = loss if distance is None else loss + weight * distance
    return loss


def load_state(model: nn.Module, state: Mapping[str, Tensor], part: str = _MODEL) -> None:
    """A part of a training's state, into a model of the same shape."""
    model.load_state_dict({name.removeprefix(part): value for name, value in state.items() if name.startswith(part)})


def _named(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    found = model.state_dict().items()
    return {f"{prefix}{name}": value.detach() for name, value in found if isinstance(value, Tensor)}


def finetune(
    cut: CutModel,
    task: Task,
    teacher: Teacher | None,
    options: TrainingOptions,
    seed: int,
    advance: Advance,
) -> None:
    """Train in place to the end; see `Training`. `advance` is called after each epoch."""
    training = Training(cut, task, teacher, options, seed)
    for _ in range(options.epochs):
        advance(f"loss {training.epoch():.3f}")


def _optimizer(
    model: nn.Module, weights: list[nn.Parameter], task: Task, options: TrainingOptions
) -> torch.optim.Optimizer:
    """The task's own, at a rate where one is asked for; or AdamW."""
    rate = options.rate
    if task.optimizer is None:
        return torch.optim.AdamW(weights, RATE if rate is None else rate, weight_decay=_DECAY)
    made = task.optimizer(model)
    if not isinstance(made, torch.optim.Optimizer):
        raise TaskError(
            expected="Task.optimizer to return a torch.optim.Optimizer of the model's parameters",
            received=type(made).__name__,
            cure="write for example optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)",
        )
    if rate is not None:
        highest = max(group["lr"] for group in made.param_groups)
        for group in made.param_groups:
            group["lr"] *= rate / highest
    return made


def _count(batches: Iterable[Any]) -> int:
    """How many batches one pass has; loaders of streams have a length that raises."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return sum(1 for _ in batches)
