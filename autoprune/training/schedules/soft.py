"""Slices are set to zero again and again, and may grow back until the end of the ramp (He et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from autoprune.training.schedules import Phase, ScheduleContext, gradual

OPTIONS: Final[Mapping[str, str]] = gradual.OPTIONS


def phases(context: ScheduleContext) -> tuple[Phase, ...]:
    """As `gradual`, but what was set to zero learns on until slices are chosen the next time."""
    first, last = gradual.phases(context)
    return replace(first, soft=True), last
