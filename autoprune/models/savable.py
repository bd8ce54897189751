"""Which groups a model's own configuration can say, and which only together. Knows groups and what is built from
configurations; not levels or searches.

Groups that are alike in all layers (their names differ in numbers only) are one to begin with. They are cut alone, and
where the configuration then builds other tensors, the groups of those join: a width may be said only with the heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.core.group import Group
from autoprune.errors import SurgeryError
from autoprune.models.config_sizes import Place
from autoprune.models.configuration import configure, pretrained, unsaid
from autoprune.surgery import Traced, apply
from autoprune.surgery.example import Example
from autoprune.surgery.gaps import gaps_of
from autoprune.surgery.layout import groups_in

#: A number that counts modules; what follows "#" tells groups of one module apart.
_NUMBER: Final = re.compile(r"(?<![#\d])\d+")
_NONE: Final = (frozenset[Place](), frozenset[Place]())
_UNSAID: Final = "the model's configuration cannot say it, alone or with others that are open"


def savable(model: nn.Module, traced: Traced, groups: Sequence[Group], example: Example) -> tuple[Group, ...]:
    """The groups, those tied that a configuration says together, those that it cannot say with the reason.

    groups: of the trace, as a search space opens them.

    Raises:
        SurgeryError: the model is not made of a configuration.
    """
    if not pretrained(model):
        raise SurgeryError(
            expected="a model that is made of a configuration and saved with it, as those of transformers are",
            received=type(model).__name__,
            cure="choose another search space",
        )
    return _Tying(model, traced, groups, example).tied()


class _Tying:
    def __init__(self, model: nn.Module, traced: Traced, groups: Sequence[Group], example: Example) -> None:
        self._model, self._traced, self._example, self._groups = model, traced, example, groups
        self._alike = _classes(group for group in groups if not group.frozen_reason)
        self._home = {group.name: name for name, alike in self._alike.items() for group in alike}

    def tied(self) -> tuple[Group, ...]:
        said: list[list[Group]] = []
        reasons: dict[str, str] = {}
        left = dict.fromkeys(self._alike)
        while left:
            name = next(iter(left))
            together, reason = self._together(name)
            bundle = [group for each in together for group in self._alike[each]]
            reason = reason or self._computes([*said, bundle])
            for each in [name] if reason else together:
                left.pop(each, None)
            if reason:
                for group in self._alike[name]:
                    reasons[group.name] = reason
                    del self._home[group.name]  # nothing may join it any more
            else:
                said.append(bundle)
        changed = {group.name: group for bundle in said for group in _bundled(bundle)}
        return tuple(
            replace(changed.get(group.name, group), frozen_reason=group.frozen_reason or reasons.get(group.name, ""))
            for group in self._groups
        )

    def _together(self, name: str) -> tuple[list[str], str]:
        """The classes that the configuration says with this one, and why it does not say them; empty where it does."""
        if name in self._traced.layers and not gaps_of(self._model, [self._traced.layers[name]]):
            return [name], _UNSAID
        together, more = [name], {name}
        while more:
            left = self._left(together)
            if left is None:
                fewer = ([each for each in together if each != other] for other in together[1:])
                return next(((each, "") for each in fewer if self._left(each) == _NONE), (together, _UNSAID))
            nearest, changed = left
            if not nearest:
                return together, ""
            more = self._opened(nearest) - {*together} or self._opened(changed) - {*together}
            together = [*together, *sorted(more)]
        return together, _UNSAID

    def _left(self, together: Sequence[str]) -> tuple[frozenset[Place], frozenset[Place]] | None:
        """What is unsaid where these classes are cut; None where they have no step in common."""
        bundle = [group for each in together for group in self._alike[each]]
        slices = self._slices([bundle])
        return unsaid(self._model, self._cut([bundle], meta=True), self._traced, slices) if slices else None

    def _opened(self, places: Iterable[Place]) -> set[str]:
        """The classes of open groups that these dimensions of tensors are made of."""
        touched = {group for tensor, dim in places for group in self._touching(tensor, dim)}
        return {self._home[group] for group in touched if group in self._home}

    def _touching(self, tensor: str, dim: int | None) -> Iterable[str]:
        layouts = self._traced.layouts.get(tensor, ())
        return groups_in(layouts[dim]) if dim is not None and layouts else ()

    def _computes(self, bundles: Sequence[Sequence[Group]]) -> str:
        """Why a model cut by these is not that of its configuration; empty where it is."""
        slices = self._slices(bundles)
        cut = self._cut(bundles, meta=False)
        notes = configure(self._model, cut, self._traced, slices, self._example).notes
        return notes[0].partition(";")[0] if notes else ""

    def _cut(self, bundles: Sequence[Sequence[Group]], *, meta: bool) -> nn.Module:
        return apply(self._model, self._traced, self._slices(bundles), meta=meta)

    def _slices(self, bundles: Sequence[Sequence[Group]]) -> Mapping[str, Tensor]:
        """About half of each bundle; of layers the first is dropped."""
        slices: dict[str, Tensor] = {}
        for bundle in bundles:
            if bundle[0].kind == "layer":
                slices[bundle[0].name] = torch.arange(0)
                continue
            steps = _steps(bundle)
            if steps > 1:
                slices |= {group.name: torch.arange(group.size // steps * (steps // 2)) for group in bundle}
        return slices


def _classes(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Groups that are tied, or whose names differ in numbers only, by the name of the first."""
    classes: list[tuple[set[tuple[object, ...]], list[Group]]] = []
    for group in groups:
        keys: set[tuple[object, ...]] = {(group.kind, group.size, _NUMBER.sub("", group.name))}
        keys |= {("tie", group.tie)} if group.tie else set()
        members = [group]
        for each in [each for each in classes if each[0] & keys]:
            classes.remove(each)
            keys, members = keys | each[0], [*each[1], *members]
        classes.append((keys, members))
    return {members[0].name: members for _, members in classes}


def _steps(bundle: Sequence[Group]) -> int:
    """In how many steps all of them can be cut in proportion."""
    return math.gcd(*(group.steps if group.size % group.step == 0 else 1 for group in bundle))


def _bundled(bundle: Sequence[Group]) -> list[Group]:
    """The groups tied to one another; layers that may be counted out stay free."""
    if bundle[0].kind == "layer":
        return list(bundle)
    steps = _steps(bundle)
    return [replace(group, tie=f"configuration of {bundle[0].name}", step=group.size // steps) for group in bundle]
