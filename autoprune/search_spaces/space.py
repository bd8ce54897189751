"""What may be cut and by how much. Knows groups and their levels as data; not how they were found."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from autoprune.core import precision
from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.errors import SurgeryError, UsageError
from autoprune.search_spaces.space_config import SpaceConfig

#: Kinds of groups of which there is no part.
_NO_WIDTHS: Final = ("layer", "precision")


@dataclass(frozen=True)
class Variable:
    """One choice of the search: groups that share it, and for each level their counts, from the smallest to all.

    It is called after its first group.
    """

    groups: tuple[Group, ...]
    levels: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        return self.groups[0].name

    def spread(self, count: int) -> list[int]:
        """At most so many levels below the whole, from the largest down, the smallest among them."""
        below = len(self.levels) - 1
        if count >= below:
            return list(range(below))[::-1]
        return [below - round((place + 1) * below / count) for place in range(count)]

    def nearest(self, ratio: float) -> int:
        """The level whose counts add up to what is nearest to the ratio; of two as near, the lower.

        Layers and precisions are kept at any ratio but zero, since half of a layer is none.
        """
        if self.groups[0].kind in _NO_WIDTHS:
            return len(self.levels) - 1 if ratio else 0
        target = ratio * sum(group.size for group in self.groups)
        return min(range(len(self.levels)), key=lambda level: (abs(sum(self.levels[level]) - target), level))


@dataclass(frozen=True)
class SearchSpace:
    """The choices of a search: variables with their levels.

    Attributes:
        variables: Each a group, or several that are tied and keep their proportion.
        digest: Tells two spaces apart.
    """

    variables: tuple[Variable, ...]
    digest: str

    @classmethod
    def build(cls, groups: Iterable[Group], config: SpaceConfig) -> SearchSpace:
        """Open what the configuration opens.

        Raises:
            SurgeryError: nothing is left to prune; the commonest reason is named.
        """
        seen = opened(groups, config)
        bundles: dict[str, list[Group]] = {}
        for group in seen:
            if not group.frozen_reason:
                bundles.setdefault(group.tie or group.name, []).append(group)
        shared: dict[str, list[list[Group]]] = {}
        for name, bundle in bundles.items():
            shared.setdefault(next(filter(None, map(config.shared, bundle)), name), []).append(bundle)
        variables = [_variable(parts, config) for parts in shared.values()]
        variables = [variable for variable in variables if len(variable.levels) > 1]
        if not variables:
            reasons = [group.frozen_reason for group in seen if group.frozen_reason]
            reasons = reasons or [f"{g.size} slices leave no level from {config.floor_of(g)} up" for g in seen]
            why = max(reasons, key=reasons.count) if reasons else "the model has no prunable parameters"
            raise SurgeryError(
                expected="at least one group to cut",
                received=f"nothing to prune ({why})",
                cure=f"open more than the search space '{config.name}' does; `autoprune inspect` lists every group",
            )
        return _made(variables)

    def including(self, plans: Iterable[Plan]) -> SearchSpace:
        """The same with levels for these plans too; groups that a plan leaves out stay whole.

        Raises:
            UsageError: a plan cuts a group that is not open, or has a precision that nothing runs in.
        """
        given = [plan.kept for plan in plans]
        open_ = {group.name for group in self.groups}
        for name in (name for kept in given for name in kept if name not in open_):
            raise UsageError(
                expected="plans of groups that the search space opens",
                received=f"'{name}'",
                cure="open it with --space, or leave it out of the plan",
            )

        def widened(variable: Variable) -> Variable:
            own = {tuple(kept.get(group.name, group.size) for group in variable.groups) for kept in given}
            if variable.groups == (precision.GROUP,) and not own <= {*variable.levels}:
                raise UsageError(
                    expected=f"a {precision.NAME} of {' or '.join(str(bits) for (bits,) in variable.levels)} bits",
                    received=", ".join(str(bits) for (bits,) in sorted(own - {*variable.levels})),
                    cure="leave it out for that of the dense model",
                )
            return Variable(variable.groups, _ordered({*variable.levels, *own}))

        return _made([widened(variable) for variable in self.variables])

    def with_precisions(self) -> SearchSpace:
        """The same, where each plan also says in which precision its model runs; that is the last variable.

        Raises:
            UsageError: a group of the model is called so.
        """
        if any(group.name == precision.NAME for group in self.groups):
            raise UsageError(
                expected="groups of other names, to choose precisions",
                received=f"'{precision.NAME}'",
                cure="rename that parameter, or choose one precision",
            )
        return _made([*self.variables, Variable((precision.GROUP,), precision.LEVELS)])

    @property
    def without_precisions(self) -> SearchSpace | None:
        """The same in the precision of the run; None where no other one can be chosen."""
        return _made(self.variables[:-1]) if self._chooses_precision else None

    @property
    def _chooses_precision(self) -> bool:
        return self.variables[-1].groups == (precision.GROUP,)

    def _planned(self, counts: Mapping[str, int]) -> Plan:
        return precision.planned(counts) if self._chooses_precision else Plan.of(counts)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every group that is open."""
        return tuple(group for variable in self.variables for group in variable.groups)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many levels each variable has."""
        return tuple(len(variable.levels) for variable in self.variables)

    @property
    def plans(self) -> int:
        """How many choices of levels there are; never fewer than there are models."""
        return math.prod(self.sizes)

    def plan(self, indices: Mapping[str, int]) -> Plan:
        """The plan that takes level `indices[variable]` of each variable."""
        return self.at([indices[variable.name] for variable in self.variables])

    def indices(self, plan: Plan) -> dict[str, int]:
        """The level indices of a plan of this space, by variable."""
        kept = precision.counted(plan)
        return {
            variable.name: variable.levels.index(tuple(kept[group.name] for group in variable.groups))
            for variable in self.variables
        }

    def at(self, levels: Sequence[int]) -> Plan:
        """The plan of one level index a variable, in their order; those of one model are one plan."""
        return self._planned(
            {
                group.name: count
                for variable, level in zip(self.variables, self.settled(levels), strict=True)
                for group, count in zip(variable.groups, variable.levels[level], strict=True)
            }
        )

    def places(self, plan: Plan) -> tuple[int, ...]:
        """The levels of a plan, in the order of the variables; the inverse of `at`, once they are `settled`."""
        indices = self.indices(plan)
        return tuple(indices[variable.name] for variable in self.variables)

    def settled(self, levels: Sequence[int]) -> tuple[int, ...]:
        """The plan of the same model, as levels, that cuts nothing inside of a dropped layer."""
        dropped = self._dropped(levels)
        return tuple(
            size - 1 if v in dropped else level for v, (level, size) in enumerate(zip(levels, self.sizes, strict=True))
        )

    def kept(self, levels: Sequence[int]) -> float:
        """The mean place of levels among theirs, 0 to 1, where what lies inside of a dropped layer is at 0."""
        dropped = self._dropped(levels)
        return sum(
            level / (size - 1)
            for v, (level, size) in enumerate(zip(levels, self.sizes, strict=True))
            if v not in dropped
        ) / len(self.sizes)

    @property
    def least(self) -> float:
        """The lowest keep ratio that cuts nothing but widths to their floor."""
        ratios = [
            sum(v.levels[0]) / sum(group.size for group in v.groups)
            for v in self.variables
            if v.groups[0].kind not in _NO_WIDTHS
        ]
        return min(ratios, default=0.0)

    def _dropped(self, levels: Sequence[int]) -> set[int]:
        """Variables of which nothing is left, as they lie inside of a dropped layer."""
        return {v for layer, inside in self._layers if levels[layer] == 0 for v in inside}

    @cached_property
    def _layers(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Variables that drop layers, each with those whose slices all lie in modules of them."""
        homes = [{each.tensor.rpartition(".")[0] for g in v.groups for each in g.members} for v in self.variables]
        layers = [v for v, variable in enumerate(self.variables) if variable.groups[0].kind == "layer"]

        def inside(u: int, v: int) -> bool:
            return bool(homes[u]) and homes[u] <= homes[v] and (u not in layers or homes[u] != homes[v])

        return tuple((v, tuple(u for u in range(len(homes)) if inside(u, v))) for v in layers)

    def dense(self) -> Plan:
        """The plan that cuts nothing."""
        return self._planned({group.name: group.size for group in self.groups})

    def smallest(self) -> Plan:
        """The plan that cuts everything to its floor."""
        return self.uniform(0.0)

    def uniform(self, ratio: float) -> Plan:
        """Every variable at the level nearest to `ratio`."""
        return self.plan({variable.name: variable.nearest(ratio) for variable in self.variables})


def opened(groups: Iterable[Group], config: SpaceConfig) -> tuple[Group, ...]:
    """All groups as the configuration sees them: its step and floor, and its reason where it keeps one whole.

    What is tied to a group that stays, stays.
    """
    seen = [
        replace(
            group,
            floor=config.floor_of(group),
            frozen_reason=group.frozen_reason or config.closes(group),
        )
        for group in groups
    ]
    closed = {group.tie: group.name for group in seen if group.tie and group.frozen_reason}
    return tuple(
        replace(group, frozen_reason=group.frozen_reason or f"tied to '{closed[group.tie]}', which stays whole")
        if group.tie in closed
        else group
        for group in seen
    )


def _variable(bundles: Sequence[Sequence[Group]], config: SpaceConfig) -> Variable:
    """Bundles of tied groups at the keep ratios; all of them at the same one."""
    groups = tuple(group for bundle in bundles for group in bundle)
    levels = {tuple(group.size for group in groups)}
    for ratio in (0.0, 1.0) if groups[0].kind == "layer" else config.keep_ratios:
        levels.add(tuple(count for bundle in bundles for count in _counts(bundle, config, ratio)))
    return Variable(groups, _ordered(levels))


def _made(variables: Sequence[Variable]) -> SearchSpace:
    described = [[[g.name, g.size] for g in variable.groups] + [variable.levels] for variable in variables]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    return SearchSpace(tuple(variables), digest)


def _ordered(levels: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(levels, key=lambda counts: (sum(counts), counts)))


def _counts(bundle: Sequence[Group], config: SpaceConfig, ratio: float) -> list[int]:
    """Tied groups keep equally many steps: as many as round all their counts as the configuration asks."""
    most = bundle[0].steps
    rounding = math.lcm(*(config.step_of(group) // group.step for group in bundle))
    least = max(math.ceil(config.floor_of(group) / group.step) for group in bundle)
    steps = max(round(ratio * most / rounding) * rounding, math.ceil(least / rounding) * rounding)
    return [group.step * min(steps, most) for group in bundle]
