"""The task's own distance between the outputs of student and teacher (Hinton et al. 2015)."""

from __future__ import annotations

from typing import Final

from autoprune.finetuning.distillers import Distiller, DistillerContext, OutputsDistance

NEEDS: Final = "a task with a distance"


def create(context: DistillerContext) -> Distiller:
    """The task's distance.

    Raises:
        UsageError: it has none.
    """
    return OutputsDistance.of(context.task, "logits")
