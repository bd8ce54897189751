"""Mixtures of experts: experts as slices of one group. Knows a router's choice, and tensors of one part an expert.

A router scores its experts, and the best few are addressed by number, so that no label says that what is addressed and
what was scored are one. It is guessed: all that stays whole and has as many places, in the smallest module that holds
the router and a tensor with a matrix for each expert. Proofs decide: reordering experts alike must change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from torch import Tensor

from autoprune.core.group import Group, Member
from autoprune.surgery.labels import Atom, Label, resolve
from autoprune.surgery.layout import Fixed, Formula, Layout, Part
from autoprune.surgery.rules.contraction import KERNEL, SPATIAL
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import INPUT, OUTPUT, UNUSED, Tracer
from autoprune.surgery.tracked_int import Attribute

#: Frozen dimensions that count something else than experts.
_OTHERS = (INPUT, OUTPUT, UNUSED, KERNEL, SPATIAL)
#: Words that make `expert` a number of them.
_COUNTING = frozenset(("n", "num", "number", "count"))


def with_experts(
    traced: Traced, tracer: Tracer, attributes: Iterable[Attribute], parameters: Mapping[str, Tensor]
) -> Traced:
    """The same with a group for each mixture, instead of those of its frozen dimensions.

    attributes: whole numbers that modules keep; parameters: by name, as the model has them.
    """
    attributes = list(attributes)
    total = max(sum(parameter.numel() for parameter in parameters.values()), 1)
    for atom, fewest in _choices(tracer).items():
        members = _members(atom, tracer)
        if not members or fewest >= atom.size:
            continue
        router = next((group for group in traced.groups if members[0] in group.members), None)
        if router is None or not router.frozen_reason:
            continue
        tensors = dict.fromkeys(member.tensor for member in members)
        group = Group(
            name=router.name,
            kind="expert",
            size=atom.size,
            members=tuple(members),
            floor=fewest,
            share_params=sum(parameters[name].numel() for name in tensors if name in parameters) / total,
            share_flops=router.share_flops,
        )
        traced = _joined(traced, group, [each for each in attributes if _counts(each, group, members, traced)])
    return traced


def _choices(tracer: Tracer) -> dict[Atom, int]:
    """Dimensions of which the best places are chosen, with how many at most."""
    found: dict[Atom, int] = {}
    for label, count in tracer.choices:
        atom = resolve(label)
        if isinstance(atom, Atom):
            found[atom] = max(found.get(atom, 1), count)
    return found


def _members(router: Atom, tracer: Tracer) -> list[Member]:
    """The router's own dimensions first, then one of each tensor beside it; none where no tensor has matrices."""
    own = [
        Member(name, dim)
        for name, labels in tracer.seeds.items()
        for dim, label in enumerate(labels)
        if resolve(label) is router
    ]
    if not own:
        return []
    scored = {member.tensor for member in own}
    whole = {
        name: dim
        for name, labels in tracer.seeds.items()
        if name not in scored
        and (dim := next((place for place, label in enumerate(labels) if _stays(label, router.size)), None)) is not None
    }
    module = own[0].tensor
    while module:
        module = module.rpartition(".")[0]
        beside = [name for name in (*scored, *whole) if name.startswith(f"{module}." if module else "")]
        if any(len(tracer.seeds[name]) > 2 for name in beside):
            return [*own, *(Member(name, whole[name]) for name in beside if name in whole)]
    return []


def _stays(label: Label, size: int) -> bool:
    atom = resolve(label)
    return isinstance(atom, Atom) and atom.size == size and bool(atom.reason) and atom.reason not in _OTHERS


def _counts(attribute: Attribute, group: Group, members: list[Member], traced: Traced) -> bool:
    """Whether the attribute is the number of experts: of a module of the mixture, as large, and called so, as another
    number may be as large by chance."""
    mixture = _common([member.tensor for member in members])
    inside = not mixture or attribute.module == mixture or attribute.module.startswith(f"{mixture}.")
    named = _tells_of_experts(str(attribute.path[-1]))
    return inside and named and attribute.size == group.size and attribute not in traced.formulas


def _tells_of_experts(name: str) -> bool:
    """Whether a name is that of a number of experts: `num_local_experts`, `n_expert`; not one an expert or a token,
    such as `expert_capacity` or `num_experts_per_tok`."""
    words = set(name.lower().split("_"))
    plural = any(word.endswith("experts") for word in words)
    counted = any(word.endswith("expert") for word in words) and bool(words & _COUNTING)
    return (plural or counted) and "per" not in words


def _common(names: list[str]) -> str:
    """The module that holds all of these tensors."""
    paths = [name.split(".")[:-1] for name in names]
    shared = [steps[0] for steps in zip(*paths, strict=False) if len(set(steps)) == 1]
    return ".".join(shared) if all(path[: len(shared)] == shared for path in paths) else ""


def _joined(traced: Traced, group: Group, attributes: list[Attribute]) -> Traced:
    """The group instead of those that are a part of it."""
    places = {(member.tensor, member.dim) for member in group.members}
    part = Part(group.name, group.size)
    layouts: dict[str, tuple[Layout, ...]] = {
        name: tuple(part if (name, dim) in places and isinstance(layout, Fixed) else layout
                    for dim, layout in enumerate(layouts))
        for name, layouts in traced.layouts.items()
    }  # fmt: skip
    parts = {each.name for each in traced.groups if {(m.tensor, m.dim) for m in each.members} <= places}
    rest = [each for each in traced.groups if each.name not in parts]
    work = tuple(
        (flops, tuple(dict.fromkeys(group.name if name in parts else name for name in names)))
        for flops, names in traced.work
    )
    formulas = {**traced.formulas, **dict.fromkeys(attributes, Formula(((Fraction(1), (part,)),)))}
    return replace(traced, groups=(*rest, group), layouts=layouts, formulas=formulas, work=work)
