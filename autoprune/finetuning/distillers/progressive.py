"""As `logits`, with the model that the last round of pruning left as the teacher: a step is easier to follow than the
whole way from the dense model (Mirzadeh et al. 2020). In the first round it is the dense one."""

from __future__ import annotations

from typing import Final

from autoprune.finetuning.distillers import Distiller, DistillerContext, OutputsDistance

NEEDS: Final = "a task with a distance"
PROGRESSIVE: Final = True


def create(context: DistillerContext) -> Distiller:
    """The task's distance.

    Raises:
        UsageError: it has none.
    """
    return OutputsDistance.of(context.task, "progressive")
