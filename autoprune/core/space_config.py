"""How models of one kind are opened: one file of `search_spaces/`. Knows kinds and patterns; no particular model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoprune.core.group import Group, Kind


@dataclass(frozen=True)
class SpaceConfig:
    """How models of one kind are opened.

    match: regular expressions on class names of modules, any of which selects it; priority: of several, the
    highest wins; kinds: kinds of group to open; frozen: regular
    expressions on group names that stay whole; step: rounding of counts, and floor: fewest slices left, each one
    number or one a kind (1 where it is not named); keep_ratios: in (0, 1]; tied: regular expressions on
    "kind name" of groups: those that match the same one with the same captures share one level;
    pattern: where the zeros of groups of kind weight may stand.
    """

    name: str
    match: tuple[str, ...]
    kinds: tuple[Kind, ...]
    frozen: tuple[str, ...]
    step: int | Mapping[Kind, int]
    floor: int | Mapping[Kind, int]
    keep_ratios: tuple[float, ...]
    priority: int = 0
    tied: tuple[str, ...] = ()
    pattern: str = "unstructured"

    def step_of(self, group: Group) -> int:
        """The group's own step as often as its rounding asks for."""
        return math.lcm(group.step, _of(self.step, group.kind)) if group.size > 1 else 1

    def floor_of(self, group: Group) -> int:
        """The fewest slices that the group itself and the configuration leave it."""
        return group.floor if group.kind == "layer" else min(max(group.floor, _of(self.floor, group.kind)), group.size)

    def fits(self, class_name: str) -> bool:
        """Whether a module of that class selects it."""
        return any(re.fullmatch(pattern, class_name) for pattern in self.match)

    def closes(self, group: Group) -> str:
        """Why it keeps a group whole; empty if it opens it."""
        if group.kind not in self.kinds:
            return f"the search space '{self.name}' does not open groups of kind {group.kind}"
        for pattern in self.frozen:
            if re.search(pattern, group.name):
                return f"kept whole by '{pattern}' of the search space '{self.name}'"
        return ""

    def shared(self, group: Group) -> str:
        """What the groups that share a level with this one have in common; empty if it stands alone."""
        for pattern in self.tied:
            found = re.search(pattern, f"{group.kind} {group.name}")
            if found:
                return repr((pattern, found.groups()))
        return ""


def _of(setting: int | Mapping[Kind, int], kind: Kind) -> int:
    return setting if isinstance(setting, int) else setting.get(kind, 1)
