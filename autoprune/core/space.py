"""What may be cut and by how much. Knows groups, levels and families as data; not how they were found."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from autoprune.core.plan import Plan
from autoprune.errors import SurgeryError, UsageError

Kind = Literal["channel", "neuron", "head", "head_dim", "embedding", "hidden", "layer", "weight"]


@dataclass(frozen=True)
class Member:
    """One dimension of one tensor that a group takes slices from; without a dimension, the whole tensor."""

    tensor: str
    dim: int | None = None

    def __str__(self) -> str:
        return self.tensor if self.dim is None else f"{self.tensor}[{self.dim}]"


@dataclass(frozen=True)
class Group:
    """Coupled slices of parameters that must go together.

    size: how many slices; step, floor: legal counts are multiples of `step` (or the full size) from `floor` up;
    share_params, share_flops: the part of the model that touches the group; frozen_reason: empty if it may be cut;
    tie: groups with the same tie (not empty) keep their sizes in proportion, so they keep equally many steps.
    """

    name: str
    kind: Kind
    size: int
    members: tuple[Member, ...]
    step: int = 1
    floor: int = 1
    share_params: float = 0.0
    share_flops: float = 0.0
    frozen_reason: str = ""
    tie: str = ""


@dataclass(frozen=True)
class Family:
    """How a family of models is opened: one file of `search_spaces/`.

    match: class names of modules, any of which selects the family; kinds: kinds of group to open; frozen: regular
    expressions on group names that stay whole; step: rounding of counts; floor: fewest slices left;
    ladder: keep ratios in (0, 1].
    """

    name: str
    match: tuple[str, ...]
    kinds: tuple[Kind, ...]
    frozen: tuple[str, ...]
    step: int
    floor: int
    ladder: tuple[float, ...]


@dataclass(frozen=True)
class SearchSpace:
    """The groups that are open, and for each its legal counts in ascending order; the last one is the full size."""

    groups: tuple[Group, ...]
    levels: tuple[tuple[int, ...], ...]
    digest: str

    @classmethod
    def build(cls, groups: Iterable[Group], family: Family) -> SearchSpace:
        """Open what the family opens.

        Raises:
            SurgeryError: nothing is left to prune; the commonest reason is named.
        """
        opened: list[Group] = []
        levels: list[tuple[int, ...]] = []
        reasons: list[str] = []
        for group in groups:
            reason = group.frozen_reason or closed_by(group, family)
            counts = _levels(group, family)
            if not reason and len(counts) > 1:
                opened.append(group)
                levels.append(counts)
            else:
                reasons.append(
                    reason or f"its {group.size} slices leave no level between {family.floor} and {group.size}"
                )
        if not opened:
            why = max(reasons, key=reasons.count) if reasons else "the model has no prunable parameters"
            raise SurgeryError(
                expected="at least one group to cut",
                received=f"nothing to prune ({why})",
                cure=f"open more than the search space '{family.name}' does; `autoprune inspect` lists every group",
            )
        described = [[group.name, group.size, list(counts)] for group, counts in zip(opened, levels, strict=True)]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
        return cls(tuple(opened), tuple(levels), digest)

    @property
    def plans(self) -> int:
        """How many plans the space can express."""
        return math.prod(len(counts) for counts in self.levels)

    def plan(self, indices: Mapping[str, int]) -> Plan:
        """The plan that takes level `indices[group]` of each group."""
        return Plan.of({g.name: counts[indices[g.name]] for g, counts in zip(self.groups, self.levels, strict=True)})

    def indices(self, plan: Plan) -> dict[str, int]:
        """The level indices of a plan of this space; the inverse of `plan`."""
        kept = plan.kept
        return {g.name: counts.index(kept[g.name]) for g, counts in zip(self.groups, self.levels, strict=True)}

    def dense(self) -> Plan:
        """The plan that cuts nothing."""
        return Plan.of({g.name: g.size for g in self.groups})

    def smallest(self) -> Plan:
        """The plan that cuts everything to its floor."""
        return self.uniform(0.0)

    def uniform(self, ratio: float) -> Plan:
        """Every group at the level nearest to `ratio` of its size; of two that are as near, the lower."""
        pairs = zip(self.groups, self.levels, strict=True)
        return Plan.of({group.name: _nearest(counts, ratio * group.size) for group, counts in pairs})


def closed_by(group: Group, family: Family) -> str:
    """Why a family keeps a group whole; empty if it opens it."""
    if group.kind not in family.kinds:
        return f"the search space '{family.name}' does not open groups of kind {group.kind}"
    for pattern in family.frozen:
        if re.search(pattern, group.name):
            return f"kept whole by '{pattern}' of the search space '{family.name}'"
    return ""


def check_plan(plan: Plan, groups: Iterable[Group]) -> None:
    """Refuse a plan that the groups cannot obey.

    Raises:
        UsageError: an unknown or frozen group, fewer slices than its floor, or more than it has.
    """
    known = {group.name: group for group in groups}
    for name, count in plan.kept.items():
        group = known.get(name)
        if group is None:
            raise UsageError(
                expected="groups of this model", received=f"'{name}'", cure="list them with `autoprune inspect`"
            )
        if group.frozen_reason and count != group.size:
            raise UsageError(
                expected=f"all {group.size} slices of '{name}'",
                received=str(count),
                cure=f"leave it out: {group.frozen_reason}",
            )
        if not group.floor <= count <= group.size:
            raise UsageError(
                expected=f"between {group.floor} and {group.size} slices of '{name}'",
                received=str(count),
                cure="keep at least the floor",
            )


def _nearest(counts: tuple[int, ...], target: float) -> int:
    return min(counts, key=lambda count: (abs(count - target), count))


def _levels(group: Group, family: Family) -> tuple[int, ...]:
    step = max(group.step, family.step)
    floor = max(group.floor, min(family.floor, group.size))
    counts = {group.size}
    for ratio in family.ladder:
        count = round(ratio * group.size / step) * step
        counts.add(min(max(count, math.ceil(floor / step) * step), group.size))
    return tuple(sorted(counts))
