"""Few single weights from the beginning on, which change places while they are trained (RigL: Evci et al. 2020).

The smallest go, and as many come where the loss would fall most steeply. Slices go at once: of one that is zero, the
gradient says little, and `soft` lets them grow by what they learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.errors import UsageError
from autoprune.training.schedules import Exchange, Phase, ScheduleContext

OPTIONS: Final[Mapping[str, str]] = {"exchange": "0.3", "until": "0.75", "times": "12"}


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """One phase, of the plan itself.

    `exchange`: the share of weights that go the first time (the paper's alpha); `until`: the share of all epochs after
    which none go any more; `times`: how often until then.

    Raises:
        UsageError: an option that is none, or a model without single weights to exchange.
    """
    exchange = Exchange(share=context.share("exchange"), until=context.share("until"), times=context.number("times", 1))
    if context.groups and not any(group.kind == "weight" and not group.frozen_reason for group in context.groups):
        raise UsageError(
            expected="single weights, which the schedule 'sparse' exchanges",
            received="groups of slices alone",
            cure="pass --space unstructured (Pruner: pattern='unstructured'), or the schedule 'soft'",
        )
    return (Phase(plan=context.plan, epochs=context.epochs, exchange=exchange),)
