"""More and more slices are zero while the dense model is trained, along a cubic (Zhu and Gupta 2017, equation 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.training.schedules import Phase, ScheduleContext

OPTIONS: Final[Mapping[str, str]] = {"ramp": "auto"}
#: The ramp of slices, while an epoch takes several times as long as one of the model that stays, and of single weights.
_OF_SLICES: Final = 0.1
_OF_WEIGHTS: Final = 0.5


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """A phase of the dense model, thinned out along the cubic; then what is zero is cut, and the rest is trained.

    `ramp`: the share of all epochs that thinning takes; auto: a tenth, or half where single weights alone are pruned.

    Raises:
        UsageError: fewer than two epochs, or a ramp that is no share.
    """
    usual = _OF_WEIGHTS if context.of_weights else _OF_SLICES
    first, then = context.two_parts("gradual", "ramp", usual)
    return (
        Phase(plan=context.dense, epochs=first, thinned_to=context.plan),
        Phase(plan=context.plan, epochs=then),
    )
