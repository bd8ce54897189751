"""The member that a user's key names.

Options are keys, and the member that answers each, by the number of its trial: `night=24`. A request says `key`;
without it, or with another one, `otherwise` answers, by default the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoprune.errors import UsageError
from autoprune.policies import Fitting, Member, Policy, Settled
from autoprune.registry import unknown

FACTS: Final = ("key",)
#: Any: they are the user's keys.
OPTIONS: Final = None
_OTHERWISE: Final = "otherwise"


class Context(Policy):
    """settings: places, by key."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._places: Mapping[str, int] = settings["places"]

    def first(self, facts: Mapping[str, Any]) -> int:
        return self._places.get(str(facts.get("key", _OTHERWISE)), self._places[_OTHERWISE])

    def drawn(self, chance: float) -> Mapping[str, Any]:
        keys = sorted(self._places)
        return {"key": keys[min(int(chance * len(keys)), len(keys) - 1)]}


def create(members: Sequence[Member], settings: Mapping[str, Any]) -> Policy:
    del members
    return Context(settings)


def settled(fitting: Fitting) -> Settled:
    names = [member.name for member in fitting.members]
    if not fitting.options:
        raise UsageError(
            expected="a key and the member that answers it",
            received="none",
            cure=f"pass for example --policy-option night={names[0]}",
        )
    for name in fitting.options.values():
        if name not in names:
            raise unknown("member of the bundle", name, tuple(names))
    wanted = {_OTHERWISE: names[-1], **fitting.options}
    used = sorted({names.index(name) for name in wanted.values()})
    if len(used) < 2:
        raise UsageError(
            expected="keys that name at least two members",
            received=f"'{names[used[0]]}' alone",
            cure=f"known: {', '.join(names)}",
        )
    places = {key: used.index(names.index(name)) for key, name in wanted.items()}
    told = ", ".join(f"{key}: {name}" for key, name in wanted.items())
    return Settled(
        places=tuple(used), settings={"places": places}, told=f"{told}; measured with each key equally often"
    )
