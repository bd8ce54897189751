"""`autoprune.prune`: cut one model by one plan, without a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from autoprune import registry
from autoprune.core.plan import Plan
from autoprune.criteria import rank
from autoprune.errors import UsageError
from autoprune.surgery import Traced, apply, kept_slices, trace


def prune(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    plan: Plan | Mapping[str, int] | float,
    *,
    criterion: str = "l2",
) -> nn.Module:
    """A smaller copy of the model; the one passed in is left as it is.

    plan: slices to keep by group (groups that are left out stay whole), or one keep ratio in (0, 1] for all groups;
    criterion: which slices go first.

    Raises:
        UsageError: a plan that the groups cannot obey, or an unknown criterion.
        SurgeryError: the model does not run on the inputs.
    """
    score = registry.load("criteria", criterion).score
    traced = trace(model, example_inputs)
    slices = kept_slices(traced, rank(score, model, traced), _plan(plan, traced))
    return apply(model, traced, slices)


def _plan(plan: Plan | Mapping[str, int] | float, traced: Traced) -> Plan:
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, Mapping):
        return Plan.of(plan)
    if isinstance(plan, bool) or not isinstance(plan, int | float) or not 0 < plan <= 1:
        raise UsageError(
            expected="a Plan, counts by group, or a keep ratio above 0 and at most 1",
            received=repr(plan),
            cure="pass for example 0.5",
        )
    return Plan.of({g.name: max(round(plan * g.size), g.floor) for g in traced.groups if not g.frozen_reason})
