"""The largest member that fits the time left.

A request says `deadline`, the seconds that are left; without it the largest answers. A member fits where what 99 of 100
of its runs took, times a margin, is no longer. The margin follows what requests really take: it grows at each miss and
shrinks a little at each that is in time, so that in the long run a share of `late` is missed, on a machine that is
slower than it was measured, too (adaptive conformal inference, Gibbs and Candes 2021, eq. 2, on a log scale).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoprune.policies import Fitting, Member, Policy, Settled

FACTS: Final = ("deadline",)
OPTIONS: Final = {"late": "0.005", "rate": "0.2"}
#: The margin at first, and at least: what is measured is the best that a machine does.
_FIRST, _LEAST = 1.25, 1.0


class Deadline(Policy):
    """settings: late: the share that may be missed; rate: how far a miss moves the logarithm of the margin."""

    def __init__(self, members: Sequence[Member], settings: Mapping[str, Any]) -> None:
        self._members = members
        self._late, self._rate = float(settings["late"]), float(settings["rate"])
        self.margin = _FIRST

    def first(self, facts: Mapping[str, Any]) -> int:
        left = facts.get("deadline", math.inf)
        fitting = [place for place, member in enumerate(self._members) if member.late * self.margin <= left]
        return max(fitting, default=0)

    def took(self, place: int, facts: Mapping[str, Any], seconds: float) -> None:
        if "deadline" not in facts or place == 0:  # no smaller one could have been chosen
            return
        missed = seconds > facts["deadline"]
        self.margin = max(_LEAST, self.margin * math.exp(self._rate * (missed - self._late)))

    def drawn(self, chance: float) -> Mapping[str, Any]:
        low, high = self._members[0].late, self._members[-1].late
        return {"deadline": low + chance * (1.5 * high - low)}


def create(members: Sequence[Member], settings: Mapping[str, Any]) -> Policy:
    return Deadline(members, settings)


def settled(fitting: Fitting) -> Settled:
    settings = {"late": fitting.number("late"), "rate": fitting.number("rate")}
    return Settled(
        places=tuple(range(len(fitting.members))),
        settings=settings,
        told="the largest member that fits the time left; measured with deadlines drawn evenly from what the smallest "
        "needs to 1.5 times what the largest does",
    )
