"""The dense model is trained under a regularizer, which draws slices to zero; then it is cut, and trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.training.schedules import Phase, ScheduleContext

OPTIONS: Final[Mapping[str, str]] = {"share": "0.5"}


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """A phase of the dense model, in which the regularizer acts; one of the smaller model, with what it has learnt.

    `share`: of all epochs, that the first phase takes.

    Raises:
        UsageError: fewer than two epochs, or a share that is none.
    """
    first, then = context.two_parts("regularized", "share")
    return (
        Phase(plan=context.dense, epochs=first),
        Phase(plan=context.plan, epochs=then),
    )
