"""How much of a model can be cut, and why the rest cannot. Knows shares of parameters and operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from autoprune.core.group import Group
from autoprune.surgery.traced import Traced


@dataclass(frozen=True)
class Coverage:
    """params, flops: the share that groups of slices which may be cut touch; left: by reason, the share of parameters
    that none of them touches, largest first."""

    params: float
    flops: float
    left: Mapping[str, float]

    def __str__(self) -> str:
        left = ", ".join(f"{share:.1%} {reason}" for reason, share in self.left.items() if share >= 0.0005)
        cut = f"can be cut: {self.params:.1%} of the parameters, {self.flops:.1%} of the operations"
        return f"{cut}; stays whole: {left}" if left else cut


def coverage(model: nn.Module, traced: Traced, groups: Iterable[Group] | None = None) -> Coverage:
    """Of a traced model; groups: as a search space opens them, those of the trace otherwise."""
    groups = tuple(traced.groups if groups is None else groups)
    sliced = [group for group in groups if group.kind != "layer"]
    opened = [group for group in sliced if not group.frozen_reason]
    touched = {member.tensor for group in opened for member in group.members}
    reasons = {member.tensor: group.frozen_reason for group in reversed(sliced) for member in group.members}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = max(sum(sizes.values()), 1)
    left: Counter[str] = Counter()
    for name, size in sizes.items():
        if name not in touched:
            left[reasons.get(name, "no dimension to cut")] += size
    names = {group.name for group in opened}
    reached = sum(flops for flops, among in traced.work if names.intersection(among))
    return Coverage(
        sum(size for name, size in sizes.items() if name in touched) / total,
        reached / max(sum(flops for flops, _ in traced.work), 1),
        {reason: size / total for reason, size in left.most_common()},
    )
