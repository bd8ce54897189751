"""The dense model as a teacher. Knows which batches it was asked about, and who compares; not what its answers are for.

All candidates see the same batches in the same epoch, so that a teacher that is much larger than they are answers each
batch once. Batches are told apart by what is in them. What was seen inside of it is kept with the answer, and counts
among the bytes that are.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune import registry
from autoprune.core.defaults import DISTILL
from autoprune.core.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced, twin
from autoprune.surgery.layout import positions
from autoprune.tasks.batch import device_of
from autoprune.tasks.task import Task
from autoprune.training.distillers import Distiller, DistillerContext, Layer, Seen
from autoprune.training.layers import layers_of
from autoprune.training.watching import Place, watching

#: Bytes of answers that are kept, the latest ones.
_KEPT: Final = 256 << 20
#: The distiller that needs no teacher.
_WITHOUT: Final = "none"


class Teacher:
    """Answers of a task's dense model, in eval mode and without gradients; and how far a student is from them."""

    def __init__(self, task: Task, distillers: Mapping[str, float] | None = None, traced: Traced | None = None) -> None:
        """distillers: by name, with what weight each counts; None: the default one. traced: the dense model's groups,
        of which layers are compared; None: only outputs are."""
        self._task, self._traced = task, traced
        self._weights = {DISTILL: 1.0} if distillers is None else dict(distillers)
        self._distillers: dict[str, Distiller] | None = None
        self._compared: tuple[Layer, ...] = ()
        self._model = twin(task.model, meta=False)[0].eval()
        arrange(self._model, torch.channels_last)
        self._known: OrderedDict[bytes, tuple[Seen, int]] = OrderedDict()
        self._bytes = 0

    @classmethod
    def of(cls, task: Task, options: TrainingOptions | None = None, traced: Traced | None = None) -> Teacher | None:
        """None where nothing is trained or taught; nor by default, where the task does not say how outputs compare."""
        asked = {DISTILL: 1.0} if options is None else dict(options.distillers)
        undecided = asked == {DISTILL: 1.0} and task.distance is None
        ours = task.loss is not None and task.train is None
        return cls(task, asked, traced) if ours and not undecided and {*asked} != {_WITHOUT} else None

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
        teacher = self._seen(batch)
        student = Seen(outputs=outputs, at=at, kept=self._kept(cut, at))
        for name, distiller in self._made(batch).items():
            yield name, self._weights[name], partial(distiller, student, teacher)

    def _seen(self, batch: Any) -> Seen:
        key = _digest(batch)
        if key is not None and key in self._known:
            self._known.move_to_end(key)
            return self._known[key][0]
        with watching(self._model, self._places(batch)) as at:
            seen = Seen(outputs=self._run(batch), at=at)
        if key is not None:
            self._keep(key, seen)
        return seen

    def _run(self, batch: Any) -> Any:
        with torch.no_grad():
            return (self._task.teach or self._task.forward)(self._model, batch)

    def _keep(self, key: bytes, seen: Seen) -> None:
        leaves = [*pytree.tree_leaves(seen.outputs), *seen.at.values()]
        if not all(isinstance(leaf, Tensor) or leaf is None for leaf in leaves):
            return  # who knows how large it is
        size = sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor))
        self._known[key] = seen, size
        self._bytes += size
        while self._bytes > _KEPT:
            _, (_, gone) = self._known.popitem(last=False)
            self._bytes -= gone

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
        self._compared = layers_of(self._model, self._traced, lambda: self._run(batch))
        return self._compared

    def _kept(self, cut: CutModel, at: Mapping[Place, Tensor]) -> dict[str, Tensor]:
        """Which channels of the teacher's layers a student has."""
        device = device_of(self._model)
        found = {layer.name: positions(layer.layout, cut.slices) for layer in self._compared if layer.place in at}
        return {name: kept.to(device) for name, kept in found.items() if kept is not None}


def arrange(model: nn.Module, layout: torch.memory_format) -> None:
    """Channels-last convolutions run and train up to twice as fast on processors; values do not change."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


def _digest(batch: Any) -> bytes | None:
    """A hash of all that a batch holds; None where it holds more than tensors, numbers and text."""
    leaves, spec = pytree.tree_flatten(batch)
    found = hashlib.sha256(str(spec).encode())
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            if leaf.layout != torch.strided or leaf.is_quantized:
                return None
            found.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
            found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(leaf, str | int | float | bool | None):
            found.update(f"{type(leaf).__name__} {leaf!r}".encode())
        else:
            return None
    return found.digest()
