"""The largest member with which a queue is worked off in time.

A request says `queue`, how many others wait behind it; without it nobody does. With the member that answers, the
request and all behind it would be through within `wait` seconds, by default as long as the largest takes for four.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoprune.policies import Fitting, Member, Policy, Settled

FACTS: Final = ("queue",)
OPTIONS: Final = {"wait": ""}
#: Requests that the largest member answers within the usual wait.
_USUAL: Final = 4


class Load(Policy):
    """settings: wait, in seconds."""

    def __init__(self, members: Sequence[Member], settings: Mapping[str, Any]) -> None:
        self._members, self._wait = members, float(settings["wait"])

    def first(self, facts: Mapping[str, Any]) -> int:
        waiting = facts.get("queue", 0) + 1
        fitting = [place for place, member in enumerate(self._members) if waiting * member.seconds <= self._wait]
        return max(fitting, default=0)

    def drawn(self, chance: float) -> Mapping[str, Any]:
        return {"queue": int(chance * (self._wait / self._members[0].seconds))}


def create(members: Sequence[Member], settings: Mapping[str, Any]) -> Policy:
    return Load(members, settings)


def settled(fitting: Fitting) -> Settled:
    usual = _USUAL * fitting.members[-1].seconds
    wait = fitting.number("wait", least=fitting.members[0].seconds) if fitting.options["wait"] else usual
    return Settled(
        places=tuple(range(len(fitting.members))),
        settings={"wait": wait},
        told=f"the largest member that works off the queue within {wait:.3g} s; measured with queues of all lengths "
        "that the smallest works off",
    )
