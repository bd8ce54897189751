"""Phases of a schedule as moments of a training. Knows counts of steps and plans; nothing of models or their loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.errors import UsageError
from autoprune.training.schedules import Phase, between, cubic

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
        exchanged: The share of single weights that go for others, where nothing else is chosen.
    """

    plan: Plan
    begins: bool
    soft: bool
    rewound: bool
    exchanged: float = 0.0


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


def exchanged_at(phase: Phase, step: int, steps: int) -> float:
    """The share of single weights that go for others after a step (Evci et al. 2020, section 3, drop schedule).

    Args:
        phase: That says how often, how many, and until when.
        step: How many are done.
        steps: Of the phase.

    Returns:
        0 where none go.
    """
    if (exchange := phase.exchange) is None:
        return 0.0
    end = exchange.until * steps
    if not 0 < step < end or int(step * exchange.times / end) == int((step - 1) * exchange.times / end):
        return 0.0
    return exchange.share / 2 * (1 + math.cos(math.pi * step / end))


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
    if share := exchanged_at(now, local, now.epochs):
        return Choice(plan=now.plan, begins=False, soft=False, rewound=False, exchanged=share)
    begins, target = local == 0, None if now.gate else now.thinned_to
    place = local * CHOICES // now.epochs
    if not begins and (target is None or place == (local - 1) * CHOICES // now.epochs):
        return None
    plan = now.plan if target is None else between(now.plan, target, groups, share_of_cubic(place))
    return Choice(plan=plan, begins=begins, soft=now.soft, rewound=now.rewound and begins)


def length(steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    """Steps of the whole training.

    Args:
        steps: Of an optimizer.
        epochs: In their place.
        steps_per_epoch: Beside epochs.

    Raises:
        UsageError: neither is said, or both.
    """
    by_epochs = (epochs, steps_per_epoch)
    parts = by_epochs if steps is None else (steps,) if by_epochs == (None, None) else ()
    if not parts or not all(isinstance(part, int) and not isinstance(part, bool) and part > 0 for part in parts):
        given = {"steps": steps, "epochs": epochs, "steps_per_epoch": steps_per_epoch}
        raise UsageError(
            expected="steps=, or epochs= and steps_per_epoch=, as whole numbers above 0",
            received=", ".join(f"{name}={each!r}" for name, each in given.items() if each is not None) or "neither",
            cure="write for example steps=epochs * len(loader)",
        )
    return math.prod(part for part in parts if part)
