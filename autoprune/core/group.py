"""Coupled slices of parameters that must go together. Knows names and counts; not tensors, or how they were found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from autoprune.core.plan import Plan
from autoprune.errors import UsageError
from autoprune.registry import suggestion

Kind = Literal[
    "channel", "neuron", "head", "head_dim", "embedding", "hidden", "expert", "row", "layer", "weight", "precision"
]


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

    Attributes:
        name: Of the first tensor that it was found in, with a suffix where that has several.
        kind: channel, neuron, head, head_dim, embedding, hidden, expert, row (of a table), layer, weight or precision.
        size: How many slices.
        members: Which dimensions of which tensors it is.
        step: Legal counts are multiples of it, or the full size.
        floor: The fewest slices that may stay.
        share_params: Part of the model's parameters that touch the group, 0 to 1.
        share_flops: Part of its operations that do.
        frozen_reason: Why it stays whole; empty if it may be cut.
        tie: Groups of one tie keep their sizes in proportion; empty for none.
        pattern: Of weights that are zeroed one by one, where zeros may stand.
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
    pattern: str = ""

    @property
    def steps(self) -> int:
        """How many steps its slices make; groups of one tie have equally many."""
        return self.size // self.step


def check_plan(plan: Plan, groups: Iterable[Group]) -> None:
    """Refuse a plan that the groups cannot obey.

    Raises:
        UsageError: an unknown or frozen group, fewer slices than its floor, more than it has, or a tie that is broken.
    """
    known = {group.name: group for group in groups}
    ties: dict[str, tuple[str, int]] = {}
    for name, count in plan.kept.items():
        group = known.get(name)
        if group is None:
            cure = f"{suggestion(name, known)}`autoprune inspect` lists every group"
            raise UsageError(expected="groups of this model", received=f"'{name}'", cure=cure)
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
        if count % group.step and count != group.size:
            raise UsageError(
                expected=f"a multiple of {group.step} slices of '{name}'",
                received=str(count),
                cure=f"keep {count // group.step * group.step or group.step}",
            )
    for group in known.values():
        steps = plan.kept.get(group.name, group.size) // group.step
        other, wanted = ties.setdefault(group.tie or group.name, (group.name, steps))
        if group.tie and steps != wanted:
            raise UsageError(
                expected=f"'{group.name}' and '{other}' cut in proportion, as the model's code ties them",
                received=f"{steps} of {group.steps} steps against {wanted}",
                cure=f"keep {wanted * group.step} of '{group.name}'",
            )
