"""All is cut at once, before any training."""

from __future__ import annotations

from autoprune.training.schedules import Phase, ScheduleContext


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """One phase, of the plan itself."""
    return (Phase(plan=context.plan, epochs=context.epochs),)
