"""From what a user wants kept to a plan: one number, or numbers by group. Knows groups; not how they were ranked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from autoprune.core.given_plan import kept_of
from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.core.scope import Scope, scoped
from autoprune.errors import SurgeryError
from autoprune.search_spaces.locks import check_only, locks, patterns
from autoprune.surgery.coverage import coverage
from autoprune.surgery.example import Example
from autoprune.surgery.find import named_tensors
from autoprune.surgery.quantised import QUANTISED, quantised_modules
from autoprune.surgery.sparsity import with_weights
from autoprune.surgery.traced import Traced
from autoprune.surgery.verify import trace


def opened(
    model: nn.Module,
    example: Example,
    *,
    pattern: str,
    freeze: str | Sequence[str],
    only: str | Sequence[str],
    by_name: bool,
) -> Traced:
    """The groups of a model, those that are locked frozen.

    Args:
        model: As for `trace`.
        example: One forward pass.
        pattern: Of single weights that are zeroed; empty for none.
        freeze: Regular expressions on names of groups that stay whole.
        only: The same of the only groups that may be cut.
        by_name: Whether groups of every kind may be named, as one number cuts but one kind.

    Raises:
        UsageError: there is no such pattern, or one that matches nothing.
        SurgeryError: the model does not run on the inputs.
    """
    traced = trace(model, example)
    if pattern:
        traced = with_weights(model, traced, pattern)
    locked = {"freeze": patterns(freeze, "freeze"), "only": patterns(only, "only")}
    traced = traced.frozen(locks(traced.groups, **locked))
    check_only(traced.groups if by_name else _of_one_number(traced, weights=bool(pattern)), locked["only"])
    return traced


def planned(
    keep: Mapping[str, int | float] | float,
    model: nn.Module,
    traced: Traced,
    ranking: Mapping[str, Tensor],
    *,
    instead: Collection[str] = (),
    scope: Scope = "layer",
    weights: bool = False,
) -> Plan:
    """How many slices of each group stay.

    Args:
        keep: One number, as `scope` reads it, or by group a ratio or a count.
        model: Whose parameters are looked at where nothing can be cut.
        traced: Its groups.
        ranking: Scores of slices by group.
        instead: Groups whose scores mean something else.
        scope: How one number becomes counts.
        weights: Whether one number zeroes single weights instead of cutting slices.

    Raises:
        UsageError: an unknown group, or a number that cannot be obeyed.
        SurgeryError: one number is given and nothing can be cut.
    """
    if not isinstance(keep, Mapping):
        groups = [group for group in traced.open if (group.kind == "weight") == weights]
        if not groups:
            raise SurgeryError(
                expected="at least one weight to zero" if weights else "at least one group that can be cut",
                received=f"nothing to prune ({_main_reason(model, traced, weights=weights)})",
                cure="`autoprune.trace(model, inputs)` lists every group with its reason",
            )
        scores = {name: each.tolist() for name, each in ranking.items()}
        tensors = dict(named_tensors(model))
        shapes = {group.name: tensors[group.members[0].tensor].shape for group in groups if group.kind == "weight"}
        return scoped(groups, scores, scope=scope, keep=keep, apart=instead, shapes=shapes)
    return kept_of(keep, traced.groups)


def _of_one_number(traced: Traced, *, weights: bool) -> list[Group]:
    """All groups; those that one number leaves whole say so."""
    return [
        replace(group, frozen_reason=group.frozen_reason or f"it is of kind {group.kind}")
        if (group.kind == "weight") != weights or group.kind == "layer"
        else group
        for group in traced.groups
    ]


def _main_reason(model: nn.Module, traced: Traced, *, weights: bool) -> str:
    """Why most of the parameters stay whole."""
    left = coverage(model, traced, [group for group in traced.groups if (group.kind == "weight") == weights]).left
    packed = next(quantised_modules(model), None) is not None
    return next(iter(left), QUANTISED if packed else "no weights")
