"""Plans that a user gives: as an object, by group, or in a file. Knows their forms; not what is done with them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from autoprune import registry
from autoprune.core.group import Group, check_plan
from autoprune.core.plan import Plan
from autoprune.errors import UsageError, describe

#: A plan, counts or ratios by group, or the file of such.
GivenPlan = Plan | Mapping[str, int | float] | str | PathLike[str]


def given_plan(given: GivenPlan, groups: Iterable[Group]) -> Plan:
    """The plan that is meant, checked against the groups of the model.

    Args:
        given: A plan; by group a ratio in (0, 1] (a float) or a count (an int); or a JSON file of these, such as the
            `plan.json` of a finished model. Groups that are left out stay whole, those tied to one that is named follow
            it.
        groups: Of the model, frozen ones too.

    Raises:
        UsageError: the file cannot be read, or the groups cannot obey the plan.
    """
    known = tuple(groups)
    if isinstance(given, str | PathLike):
        given = _read(Path(given))
    if not isinstance(given, Plan | Mapping):
        raise UsageError(
            expected="a Plan, counts by group, or a file of these",
            received=type(given).__name__,
            cure='pass for example {"conv1": 12} or "runs/demo/models/17/plan.json"',
        )
    plan = given if isinstance(given, Plan) else kept_of(given, known)
    check_plan(plan, known)
    return plan


def kept_of(keep: Mapping[str, int | float], groups: Iterable[Group]) -> Plan:
    """A plan by group: a ratio (a float) or a count (an int) of each; what is tied to one that is named follows it.

    Raises:
        UsageError: an unknown group, or a ratio outside of (0, 1].
    """
    known = {group.name: group for group in groups}
    plan: dict[str, int] = {}
    for name, wanted in keep.items():
        group = known.get(name)
        if group is None:
            raise registry.unknown("group of this model", name, tuple(known))
        whole = isinstance(wanted, Integral) and not isinstance(wanted, bool)
        plan[name] = int(wanted) if whole else _count(wanted, group)
        for other in known.values():
            if other.tie and other.tie == group.tie and not other.frozen_reason:
                plan.setdefault(other.name, plan[name] // group.step * other.step)
    return Plan.of(plan)


def _count(ratio: float, group: Group) -> int:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise UsageError(
            expected="a keep ratio above 0 and at most 1, counts by group, or a Plan",
            received=repr(ratio),
            cure="pass for example 0.5",
        )
    return max(round(ratio * group.steps), math.ceil(group.floor / group.step)) * group.step


def _read(path: Path) -> Any:
    """What a file says: a plan, or a record that has one."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            expected=f"a plan as JSON in {path}",
            received=describe(error),
            cure="give the plan.json of a model, or counts by group",
        ) from error
    inner = content.get("plan") if isinstance(content, dict) else None
    return inner if isinstance(inner, dict) else content
