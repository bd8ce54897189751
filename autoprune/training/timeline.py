"""Phases of a schedule as moments of a training. Knows counts of steps and plans; nothing of models or their loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.training.schedules import Phase, between

#: How often slices are chosen anew in a phase that thins out.
CHOICES: Final = 12


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Slices are chosen anew.

    Attributes:
        plan: How many stay other than zero.
        begins: Whether a phase begins.
        soft: Whether what is set to zero may grow again until slices are chosen the next time.
        rewound: Whether weights go back to what they were when training began.
    """

    plan: Plan
    begins: bool
    soft: bool
    rewound: bool


def cubic(done: float) -> float:
    """How far a phase that thins out has come: fast at first, where much is superfluous (Zhu, Gupta 2017, equation 1).

    Args:
        done: The share of the phase that is over.
    """
    return 1 - (1 - done) ** 3


def share_of_cubic(choice: int) -> float:
    """The same where slices are chosen anew; choice: which of `CHOICES`, from 0 on."""
    return cubic((choice + 1) / CHOICES)


def phase_at(phases: Sequence[Phase], done: int) -> tuple[Phase, int] | None:
    """The phase in which the next step is, and how many steps of it are done; None when all are.

    Args:
        phases: Their epochs are steps here.
        done: Steps so far.
    """
    local = done
    for now in phases:
        if local < now.epochs:
            return now, local
        local -= now.epochs
    return None


def choice_at(phases: Sequence[Phase], groups: Sequence[Group], done: int) -> Choice | None:
    """What is chosen when so many steps are done.

    Args:
        phases: Their epochs are steps here.
        groups: Of the dense model.
        done: Steps so far.

    Returns:
        None where slices stay as they were chosen before, and when all steps are done.
    """
    found = phase_at(phases, done)
    if found is None:
        return None
    now, local = found
    begins, target = local == 0, None if now.gate else now.thinned_to
    place = local * CHOICES // now.epochs
    if not begins and (target is None or place == (local - 1) * CHOICES // now.epochs):
        return None
    plan = now.plan if target is None else between(now.plan, target, groups, share_of_cubic(place))
    return Choice(plan=plan, begins=begins, soft=now.soft, rewound=now.rewound and begins)
