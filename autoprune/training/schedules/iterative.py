"""Rounds of cutting, healing and training, until the plan is reached (Han et al. 2015; Renda et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.errors import UsageError
from autoprune.training.schedules import Phase, ScheduleContext, too_short

OPTIONS: Final[Mapping[str, str]] = {"rounds": "3", "steps": "geometric"}
_STEPS: Final = ("geometric", "linear")


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """Rounds of nearly the same number of epochs; the last has what is left over, as it decides.

    `rounds`: how many. `steps`: geometric, each keeps the same share of what was left; linear, each cuts as many.

    Raises:
        UsageError: fewer epochs than rounds, or an option that is none.
    """
    count, steps = context.number("rounds", 1), context.options["steps"]
    if steps not in _STEPS:
        raise UsageError(expected=f"steps={' or '.join(_STEPS)}", received=repr(steps), cure="choose one of them")
    if context.epochs < count:
        raise too_short("iterative", context.epochs, count)
    each, more = divmod(context.epochs, count)
    return tuple(
        Phase(
            plan=context.between((place + 1) / count, geometric=steps == "geometric"),
            epochs=each + (more if place == count - 1 else 0),
        )
        for place in range(count)
    )
