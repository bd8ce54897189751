"""Distillers: how far a student is from its teacher. One file each, named on the command line.

A distiller is a module with `create(context) -> Distiller`, and NEEDS: what it compares, in words for people; with
PROGRESSIVE = True, the teacher is the model of the last round of pruning, where there was one. It says where the two
models are watched, and what is made of what was seen there; not how models are run, or with what weight its distance
counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from autoprune import registry
from autoprune.errors import UsageError
from autoprune.finetuning.watching import Place
from autoprune.surgery.layout import Layout
from autoprune.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution or a linear layer of the dense model, which runs once for a batch.

    Attributes:
        name: Of the module.
        channels: The dimension of its results that holds its channels: 1 of a convolution, otherwise the last.
        shape: Of its results for one batch; the first dimension counts samples.
        layout: What its channels are made of.
    """

    name: str
    channels: int
    shape: tuple[int, ...]
    layout: Layout = field(repr=False)

    @property
    def place(self) -> Place:
        """What leaves it."""
        return Place(self.name)

    @property
    def has_positions(self) -> bool:
        """Whether its results have pixels or tokens beside samples and channels."""
        return len(self.shape) > 2


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of a model on a batch.

    Attributes:
        outputs: What `Task.forward` returned; of the teacher, `Task.teach` where there is one.
        at: By place, what passed it; places that the model does not have are absent.
        kept: By name of a layer, which of the dense layer's channels it has (int64, 1-D); absent where it has all.
    """

    outputs: Any
    at: Mapping[Place, Tensor] = field(default_factory=dict)
    kept: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DistillerContext:
    """What a distiller knows when it is made.

    Attributes:
        task: With the dense model, which is the teacher.
        look: Finds its layers.
    """

    task: Task
    look: Callable[[], Sequence[Layer]] = field(repr=False)

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """Of the dense model, in the order in which they run; it is run once for that."""
        return self.look()


class Distiller(Protocol):
    """How far a student is from its teacher, on a batch."""

    @property
    def places(self) -> Sequence[Place]:
        """Where both are watched."""
        ...

    def __call__(self, student: Seen, teacher: Seen) -> Tensor | None:
        """A scalar with the student's gradients, 0 where both are the same; None where nothing compares."""
        ...


@dataclass(frozen=True)
class OutputsDistance:
    """The task's own distance between the outputs of student and teacher."""

    distance: Callable[[Any, Any], Tensor]
    places: Sequence[Place] = ()

    def __call__(self, student: Seen, teacher: Seen) -> Tensor:
        return self.distance(student.outputs, teacher.outputs)

    @classmethod
    def of(cls, task: Task, name: str) -> OutputsDistance:
        """name: of the distiller, for messages.

        Raises:
            UsageError: the task has no distance.
        """
        if task.distance is None:
            raise UsageError(
                expected=f"a task with a distance for the distiller '{name}'",
                received=f"'{task.name}' without one",
                cure=f"pass distance=, or leave {name} out of --distill",
            )
        return cls(task.distance)


def progressive(name: str) -> bool:
    """Whether a distiller's teacher is the model of the last round, where there was one."""
    return bool(getattr(registry.load("distillers", name), "PROGRESSIVE", False))


def evenly(layers: Sequence[Layer], count: int) -> tuple[Layer, ...]:
    """A few layers, evenly over the depth of the model; the last one is among them."""
    wanted = min(count, len(layers))
    return tuple(layers[(place + 1) * len(layers) // wanted - 1] for place in range(wanted))


def both(layers: Iterable[Layer], student: Seen, teacher: Seen) -> Iterator[tuple[Layer, Tensor, Tensor]]:
    """The layers that both models have, with what left the student's and the teacher's."""
    for layer in layers:
        if layer.place in student.at and layer.place in teacher.at:
            yield layer, exact(student.at[layer.place]), exact(teacher.at[layer.place])


def exact(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
