"""From scores to how many slices stay, without a search. Knows numbers; not where scores come from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, get_args

from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.errors import UsageError

Scope = Literal["layer", "global", "threshold", "percentile", "relative", "erdos-renyi"]
SCOPES: Final = get_args(Scope)


def scoped(
    groups: Iterable[Group],
    scores: Mapping[str, Sequence[float]],
    scope: Scope,
    keep: float,
    apart: Collection[str] = (),
    shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Plan:
    """How many slices of each group stay; layers stay.

    keep, by scope: "layer": the share of slices that each group keeps; "global": the share of all slices, the best of
    all groups together; "threshold": the least score that stays; "percentile": of all scores, in percent, the one that
    must be reached; "relative": the share of its group's highest score that each must reach; "erdos-renyi": the share
    of all single weights, of which small tensors keep more (Mocanu et al. 2018; with the sides of kernels: Evci et al.
    2020). Scores of different groups are compared as they are by "global", "threshold" and "percentile", which want a
    criterion whose scores mean the same everywhere: lamp, or one that speaks of the loss. Floors, steps and ties of
    groups hold. apart: groups whose scores mean something else; they keep the share that all others keep together.
    shapes: of the tensors of groups of single weights.

    Raises:
        UsageError: an unknown scope, or a value that it does not take.
    """
    _check(scope, keep)
    cut = [group for group in groups if group.kind != "layer" and not group.frozen_reason]
    if scope == "layer":
        wanted = {group.name: round(keep * group.steps) for group in cut}
    elif scope == "relative":
        _check_slices(cut, scores, scope)
        wanted = {group.name: math.ceil(_reaching(scores[group.name], keep) / group.step) for group in cut}
    elif scope == "erdos-renyi":
        _check_weights(cut, shapes)
        shares = _erdos_renyi({group.name: shapes[group.name] for group in cut}, keep)
        wanted = {group.name: round(shares[group.name] * group.steps) for group in cut}
    else:
        _check_slices(cut, scores, scope)
        like = [group for group in cut if group.name not in apart]
        least = _least(sorted((score for group in like for score in scores[group.name]), reverse=True), scope, keep)
        reached = {group.name: sum(score >= least for score in scores[group.name]) for group in like}
        share = sum(reached.values()) / max(sum(group.size for group in like), 1)
        reached |= {group.name: round(share * group.size) for group in cut if group.name in apart}
        wanted = {group.name: math.ceil(reached[group.name] / group.step) for group in cut}
    steps: dict[str, int] = {}
    for group in cut:
        tie = group.tie or group.name
        floor = math.ceil(max(group.floor, 1) / group.step)
        steps[tie] = max(steps.get(tie, 0), wanted[group.name], floor)
    return Plan.of({group.name: min(steps[group.tie or group.name] * group.step, group.size) for group in cut})


def _erdos_renyi(shapes: Mapping[str, Sequence[int]], keep: float) -> dict[str, float]:
    """Shares in proportion to the sum of a tensor's sides by their product, at most all."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    density = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    whole: set[str] = set()
    while True:
        left = keep * sum(sizes.values()) - sum(sizes[name] for name in whole)
        partly = [name for name in sizes if name not in whole]
        factor = left / max(sum(density[name] * sizes[name] for name in partly), 1)
        full = {name for name in partly if factor * density[name] >= 1}
        if not full:
            return {name: 1.0 if name in whole else factor * density[name] for name in sizes}
        whole |= full


def _least(ordered: Sequence[float], scope: Scope, keep: float) -> float:
    """The lowest score that stays, of scores from the highest down."""
    if scope == "threshold" or not ordered:
        return keep
    share = keep if scope == "global" else 1 - keep / 100
    return ordered[min(max(round(share * len(ordered)), 1), len(ordered)) - 1]


def _reaching(scores: Sequence[float], share: float) -> int:
    """How many reach a share of the highest."""
    return sum(score >= share * max(scores) for score in scores)


def _check_slices(groups: Iterable[Group], scores: Mapping[str, Sequence[float]], scope: str) -> None:
    for group in groups:
        if len(scores[group.name]) != group.size:
            raise UsageError(
                expected=f"scope='layer' for zeros in the pattern {group.pattern}",
                received=repr(scope),
                cure="pass scope='layer', or pattern='unstructured'",
            )


def _check_weights(groups: Iterable[Group], shapes: Mapping[str, Sequence[int]]) -> None:
    for group in groups:
        if group.name not in shapes or (group.pattern and ":" in group.pattern):
            raise UsageError(
                expected="single weights, of which any may be zero, for scope='erdos-renyi'",
                received=f"the group '{group.name}' of kind {group.kind} {group.pattern}".rstrip(),
                cure="pass pattern='unstructured', or scope='layer'",
            )


def _check(scope: str, keep: float) -> None:
    if scope not in SCOPES:
        raise UsageError(
            expected=f"a scope out of {', '.join(SCOPES)}", received=repr(scope), cure="pass scope='layer'"
        )
    number = isinstance(keep, int | float) and not isinstance(keep, bool) and math.isfinite(keep)
    legal = {"threshold": True, "percentile": number and 0 <= keep < 100}.get(scope, number and 0 < keep <= 1)
    if not number or not legal:
        what = {"threshold": "a score", "percentile": "a percentage from 0 to below 100"}
        raise UsageError(
            expected=what.get(scope, "a keep ratio above 0 and at most 1, counts by group, or a Plan"),
            received=repr(keep),
            cure="pass for example 0.5"
            if scope in ("layer", "global", "erdos-renyi")
            else f"pass a number that suits scope='{scope}'",
        )
