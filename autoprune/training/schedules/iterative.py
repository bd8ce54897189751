"""Rounds of cutting, healing and training, until the plan is reached (Han et al. 2015; Renda et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.errors import UsageError
from autoprune.training.schedules import Phase, ScheduleContext, cubic, too_short

OPTIONS: Final[Mapping[str, str]] = {"rounds": "2", "steps": "geometric", "last": "0.9"}
_STEPS: Final = ("geometric", "linear", "cubic")


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """A few epochs for each round but the last, which has most of them: an epoch of a larger model costs as much as
    several of the one that stays.

    `rounds`: how many. `steps`: geometric, each keeps the same share of what was left; linear, each cuts as many;
    cubic, the first cut most, so that the models before the last one are little larger than it. `last`: the share of
    all epochs that the last round has, as far as each other one has an epoch.

    Raises:
        UsageError: fewer epochs than rounds, or an option that is none.
    """
    count, steps = context.number("rounds", 1), context.options["steps"]
    if steps not in _STEPS:
        raise UsageError(expected=f"steps={' or '.join(_STEPS)}", received=repr(steps), cure="choose one of them")
    if context.epochs < count:
        raise too_short("iterative", context.epochs, count)
    others = max(count - 1, 1)
    each = min(max(round((1 - context.share("last")) * context.epochs / others), 1), context.epochs // count)
    way = cubic if steps == "cubic" else float
    return tuple(
        Phase(
            plan=context.between(way((place + 1) / count), geometric=steps == "geometric"),
            epochs=each if place < count - 1 else context.epochs - each * (count - 1),
        )
        for place in range(count)
    )
