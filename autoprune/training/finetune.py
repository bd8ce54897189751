"""Short training of a pruned model with the dense one as its teacher, epoch by epoch.

Knows the recipe, and what must be kept to go on after a kill; not which models deserve it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.reporter import Advance
from autoprune.errors import StorageError, TaskError
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task
from autoprune.training.teacher import Teacher, arrange

RATE: Final = 5e-3
#: Fewer epochs have no time to make good what a high rate undoes at first, and get so much less of it.
_UNHURRIED: Final = 8
_CLIP: Final = 1.0
_MODEL, _OPTIMIZER = "model.", "optimizer."


class Training:
    """A model that is trained in place on the train split, one epoch at a time.

    The task's own loss, plus the distance to the teacher's outputs where there is one (Hinton et al. 2015); AdamW
    under one cosine over all `epochs`, gradients clipped to norm 1. Torch's global state is seeded for each epoch, so
    that one that begins from `state` is the same as one that was never interrupted. What was thinned out stays zero.
    done: epochs so far.
    """

    def __init__(
        self,
        cut: CutModel,
        task: Task,
        teacher: Teacher | None,
        epochs: int,
        seed: int,
    ) -> None:
        self.cut, self.model, self.done = cut, cut.model, 0
        self._task, self._teacher, self._epochs, self._seed = task, teacher, epochs, seed
        self._length = 0
        weights = [parameter for parameter in cut.model.parameters() if parameter.requires_grad]
        self._weights = weights if task.loss is not None else []
        self._rate = RATE * min(epochs / _UNHURRIED, 1)
        self._optimizer = torch.optim.AdamW(weights, self._rate) if self._weights else None

    def epoch(self) -> float:
        """Train for one more epoch, leaving eval mode; the last batch's loss. Nothing happens without a loss.

        Raises:
            TaskError: the loss or its gradients are no finite numbers.
        """
        optimizer = self._optimizer
        self.done += 1
        if optimizer is None:
            return math.nan
        batches = self._task.split("train")
        self._length = length = self._length or _count(batches)
        with self._arranged(), evaluating(self.model), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed * 1_000_003 + self.done)
            self.model.train()
            for place, batch in enumerate(batches):
                spent = ((self.done - 1) * length + place) / (self._epochs * length)
                for group in optimizer.param_groups:
                    group["lr"] = self._rate * (1 + math.cos(math.pi * min(spent, 1.0))) / 2
                loss = self._step(optimizer, batch)
        self.model.eval()
        return loss

    def state(self) -> dict[str, Tensor]:
        """All that the next epoch needs, on the processor."""
        whole = self.model.state_dict().items()
        found = {f"{_MODEL}{name}": value for name, value in whole if isinstance(value, Tensor)}
        if self._optimizer is not None:
            for place, kept in self._optimizer.state_dict()["state"].items():
                found |= {f"{_OPTIMIZER}{place}.{name}": value for name, value in kept.items()}
        # Tied tensors share memory, which safetensors does not store.
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        """Go on from a state.

        Raises:
            StorageError: it is one of another model.
        """
        kept: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith(_OPTIMIZER):
                place, _, part = name.removeprefix(_OPTIMIZER).partition(".")
                kept.setdefault(int(place), {})[part] = value
        try:
            load_state(self.model, state)
            if self._optimizer is not None and kept:
                whole = self._optimizer.state_dict()
                self._optimizer.load_state_dict({**whole, "state": kept})
        except (RuntimeError, ValueError, KeyError) as error:
            raise StorageError(
                expected="a checkpoint of this model",
                received="one of another shape",
                cure="remove the run's folder `checkpoints`; fine-tuning begins anew",
            ) from error
        self.done = done

    def _step(self, optimizer: torch.optim.Optimizer, batch: Any) -> float:
        task = self._task
        optimizer.zero_grad()
        outputs = task.forward(self.model, batch)
        loss: Tensor = task.loss(outputs, batch)  # type: ignore[misc] # without one there is no optimizer
        if self._teacher is not None and task.distance is not None:
            loss = loss + task.distance(outputs, self._teacher.answer(batch))
        loss.backward()
        length, value = float(nn.utils.clip_grad_norm_(self._weights, _CLIP)), float(loss.detach())
        if not (math.isfinite(length) and math.isfinite(value)):
            raise TaskError(
                expected="a loss and gradients that are finite numbers",
                received=f"a loss of {value:g} with gradients of norm {length:g} in epoch {self.done}",
                cure="check the task's loss on the train split",
            )
        optimizer.step()
        thin(self.model, self.cut.masks)
        return value

    @contextmanager
    def _arranged(self) -> Iterator[None]:
        arrange(self.model, torch.channels_last)
        try:
            yield
        finally:
            arrange(self.model, torch.contiguous_format)


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """The model's part of a training's state, into a model of the same shape."""
    model.load_state_dict(
        {name.removeprefix(_MODEL): value for name, value in state.items() if name.startswith(_MODEL)}
    )


def finetune(
    cut: CutModel,
    task: Task,
    teacher: Teacher | None,
    epochs: int,
    seed: int,
    advance: Advance,
) -> None:
    """Train in place to the end; see `Training`. `advance` is called after each epoch."""
    training = Training(cut, task, teacher, epochs, seed)
    for _ in range(epochs):
        advance(f"loss {training.epoch():.3f}")


def _count(batches: Iterable[Any]) -> int:
    """How many batches one pass has; loaders of streams have a length that raises."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return sum(1 for _ in batches)
