"""The task's own distance between the outputs of student and teacher (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from autoprune.errors import UsageError
from autoprune.training.distillers import Distiller, DistillerContext, Seen
from autoprune.training.watching import Place

NEEDS: Final = "a task with a distance"


@dataclass(frozen=True)
class _Logits:
    distance: Callable[[Any, Any], Tensor]
    places: Sequence[Place] = ()

    def __call__(self, student: Seen, teacher: Seen) -> Tensor:
        return self.distance(student.outputs, teacher.outputs)


def create(context: DistillerContext) -> Distiller:
    """The task's distance.

    Raises:
        UsageError: it has none.
    """
    if context.task.distance is None:
        raise UsageError(
            expected=f"{NEEDS} for the distiller 'logits'",
            received=f"'{context.task.name}' without one",
            cure="pass distance=, or leave logits out of --distill",
        )
    return _Logits(context.task.distance)
