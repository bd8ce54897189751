"""The dense model is trained to see which slices matter; these begin again with the weights that it had before.

Frankle and Carbin 2019, with weights of a trained network in place of those of an early step (Renda et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.training.schedules import Phase, ScheduleContext

OPTIONS: Final[Mapping[str, str]] = {"look": "0.1"}


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """A phase of the dense model, after which slices are ranked; one of the smaller model, from the dense weights.

    `look`: the share of all epochs that the first phase takes.

    Raises:
        UsageError: fewer than two epochs, or a look that is no share.
    """
    first, then = context.two_parts("lottery-ticket", "look")
    return (
        Phase(plan=context.dense, epochs=first),
        Phase(plan=context.plan, epochs=then, rewound=True),
    )
