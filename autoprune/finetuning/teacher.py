"""The dense model as a teacher, and the model of the last round. Knows who compares a student with which of them; not
what is done about the distances."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from autoprune import registry
from autoprune.finetuning.answers import Answers
from autoprune.finetuning.distillers import Distiller, DistillerContext, Layer, Seen, progressive
from autoprune.finetuning.layers import layers_of
from autoprune.finetuning.watching import Place, watching
from autoprune.options.defaults import DISTILL
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced
from autoprune.surgery.layout import positions
from autoprune.tasks.batch import device_of
from autoprune.tasks.task import Task

#: The distiller that needs no teacher.
_WITHOUT: Final = "none"


def taught(task: Task, options: TrainingOptions | None = None) -> Mapping[str, float]:
    """The distillers of a training by name, with what weight each counts.

    None where the task trains by itself; nor by default, where it does not say how outputs compare.
    """
    asked = {DISTILL: 1.0} if options is None else dict(options.distillers)
    undecided = asked == {DISTILL: 1.0} and task.distance is None
    return {} if task.train is not None or undecided or {*asked} == {_WITHOUT} else asked


def trained(task: Task, options: TrainingOptions | None = None) -> bool:
    """Whether models can be fine-tuned: there is a loss, or a training of the task's own, or something is taught."""
    return task.loss is not None or task.train is not None or bool(taught(task, options))


def without_labels(task: Task, options: TrainingOptions | None = None) -> str:
    """What becomes of models where the task has no loss, for people; empty where it trains on labels."""
    if task.loss is not None or task.train is not None:
        return ""
    if trained(task, options):
        return f"the task '{task.name}' has no loss: models learn from the dense one alone"
    return f"the task '{task.name}' has no loss, and nothing is distilled: models stay as repaired, none is fine-tuned"


class Teacher:
    """Answers of a task's dense model, in eval mode and without gradients; and how far a student is from them."""

    def __init__(self, task: Task, distillers: Mapping[str, float] | None = None, traced: Traced | None = None) -> None:
        """distillers: by name, with what weight each counts; None: the default one. traced: the dense model's groups,
        of which layers are compared; None: only outputs are."""
        self._task, self._traced = task, traced
        self._weights = {DISTILL: 1.0} if distillers is None else dict(distillers)
        self._distillers: dict[str, Distiller] | None = None
        self._compared: tuple[Layer, ...] = ()
        self._dense = Answers(task, task.model)
        self._last: Answers | None = None

    @classmethod
    def of(cls, task: Task, options: TrainingOptions | None = None, traced: Traced | None = None) -> Teacher | None:
        """None where nothing is taught."""
        asked = taught(task, options)
        return cls(task, asked, traced) if asked else None

    @property
    def follows(self) -> bool:
        """Whether something is learned from the model of the last round."""
        return any(map(progressive, self._weights))

    def after(self, last: nn.Module) -> Teacher:
        """The same teacher where a round of pruning follows another one.

        Args:
            last: The model that the last round left; what becomes of it later does not matter.
        """
        found = copy.copy(self)  # what the dense model has answered is answered for both
        found._last = Answers(self._task, last)
        return found

    def answer(self, batch: Any) -> Any:
        """The dense model's outputs for a batch."""
        return self._seen(batch).outputs

    @contextmanager
    def watching(self, model: nn.Module, batch: Any) -> Iterator[dict[Place, Tensor]]:
        """What passes inside of a student where it is compared with the teacher, while it runs on a batch."""
        with watching(model, self._places(batch)) as found:
            yield found

    def distances(
        self, cut: CutModel, outputs: Any, at: Mapping[Place, Tensor], batch: Any
    ) -> Iterator[tuple[str, float, Callable[[], Tensor | None]]]:
        """Each distiller's name and weight, and what tells how far the student is from the teacher; see `Distiller`.

        Args:
            cut: The student.
            outputs: Of it, for the batch.
            at: What `watching` saw meanwhile.
            batch: That it ran on.
        """
        student = Seen(outputs=outputs, at=at, kept=self._kept(cut, at))
        for name, distiller in self._made(batch).items():
            last = self._last if progressive(name) else None
            teacher = self._seen(batch) if last is None else last.seen(batch, distiller.places)
            yield name, self._weights[name], partial(distiller, student, teacher)

    def _seen(self, batch: Any) -> Seen:
        return self._dense.seen(batch, self._places(batch))

    def _places(self, batch: Any) -> dict[Place, None]:
        return dict.fromkeys(place for each in self._made(batch).values() for place in each.places)

    def _made(self, batch: Any) -> dict[str, Distiller]:
        """The distillers, made when the first batch tells which layers run."""
        if self._distillers is None:
            context = DistillerContext(task=self._task, look=lambda: self._layers(batch))
            self._distillers = {name: registry.load("distillers", name).create(context) for name in self._weights}
        return self._distillers

    def _layers(self, batch: Any) -> tuple[Layer, ...]:
        if self._traced is None:
            return ()
        self._compared = layers_of(self._dense.model, self._traced, lambda: self._dense.run(batch))
        return self._compared

    def _kept(self, cut: CutModel, at: Mapping[Place, Tensor]) -> dict[str, Tensor]:
        """Which channels of the teacher's layers a student has."""
        device = device_of(self._dense.model)
        found = {layer.name: positions(layer.layout, cut.slices) for layer in self._compared if layer.place in at}
        return {name: kept.to(device) for name, kept in found.items() if kept is not None}
