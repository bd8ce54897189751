"""Gates learn with the dense model which slices it needs, fewer and fewer; then the rest is cut, and trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune import registry
from autoprune.training.schedules import Phase, ScheduleContext

OPTIONS: Final[Mapping[str, str]] = {"share": "0.5", "gate": "hard-concrete"}


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """A phase of the dense model under gates, which rank its slices; one of the smaller model, with what it has learnt.

    `share`: of all epochs, that the first phase takes. `gate`: of which kind; `autoprune plugins gates` lists them.

    Raises:
        UsageError: fewer than two epochs, a share that is none, or an unknown gate.
    """
    first, then = context.two_parts("learned", "share")
    gate = context.options["gate"]
    registry.known("gates", gate)
    return (
        Phase(plan=context.dense, epochs=first, thinned_to=context.plan, gate=gate),
        Phase(plan=context.plan, epochs=then),
    )
