"""How the time of a search is divided between its stages. Knows shares and paces; not what is done in a stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from autoprune.core.deadline import Deadline
from autoprune.core.effort import Effort
from autoprune.measure.certificate import PROCESSES

#: Of the time for candidates, what their forecast may take; of what is left until the deadline, the same.
_FORECAST_OF_TIMEOUT, _FORECAST_OF_DEADLINE = 1 / 3, 1 / 5
#: Of what is left for candidates and fine-tuning together, the part for candidates.
_CANDIDATES: Final = 1 / 2
#: Of what is left, what measuring finished models in fresh processes may take at most.
_CERTIFICATE: Final = 1 / 3
#: A validation or test split may be larger than the one whose scoring was timed.
_MARGIN: Final = 1.5


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that things took in this search: opening the device, and scoring the dense model on the search split."""

    opening: float = 0.0
    scoring: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """What each stage may take.

    Attributes:
        effort: What may be spent.
        deadline: By which all is to be done.
        pace: Of this task on this machine.
        certify_s: Seconds that finished models are measured again, starts of processes left out.
    """

    effort: Effort
    deadline: Deadline
    pace: Pace
    certify_s: float

    @property
    def forecast_s(self) -> float:
        """Seconds for the forecast from now."""
        timeout = math.inf if self.effort.seconds is None else self.effort.seconds
        return min(_FORECAST_OF_TIMEOUT * timeout, _FORECAST_OF_DEADLINE * self.deadline.left)

    def candidates(self, spent: float, *, trained: bool) -> Effort:
        """The effort, of whose time for candidates the deadline leaves enough for what follows.

        Args:
            spent: Seconds of that time that are gone.
            trained: Whether finalists are fine-tuned.
        """
        if not self.deadline.limited:
            return self.effort
        room = self.training.left * (_CANDIDATES if trained and self.effort.epochs else 1.0)
        timeout = math.inf if self.effort.seconds is None else self.effort.seconds
        return replace(self.effort, seconds=max(min(timeout, spent + room), 1e-3))

    @property
    def training(self) -> Deadline:
        """When fine-tuning is to end: finished models are then measured again, validated and tested."""
        if not self.deadline.limited:
            return self.deadline
        scored = self.effort.finalists * self.pace.scoring * _MARGIN
        measured = min(PROCESSES * self.pace.opening + self.certify_s, _CERTIFICATE * self.deadline.left)
        return self.measuring.earlier(scored + measured)

    @property
    def measuring(self) -> Deadline:
        """When finished models are to have been measured again: the dense one is then validated, and both tested."""
        return self.deadline.earlier(3 * self.pace.scoring * _MARGIN)
