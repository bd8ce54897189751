"""From labels to groups: which atoms touch parameters, how they are called, and what share of the model they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from autoprune.core.space import Group, Kind, Member
from autoprune.surgery.labels import Atom, Label, Prod, atoms, freeze, resolve
from autoprune.surgery.layout import Concat, Fixed, Layout, Part, Product
from autoprune.surgery.rules.contraction import KERNEL, SPATIAL
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import Tracer


def collect(tracer: Tracer) -> Traced:
    """Every atom that a parameter contains is a group, frozen ones with their reason; kernel windows and
    positions in an image are not shown."""
    members: dict[Atom, list[Member]] = {}
    for name, labels in tracer.seeds.items():
        for dim, label in enumerate(labels):
            for atom in dict.fromkeys(atoms(label)):
                if atom.reason not in (KERNEL, SPATIAL):
                    members.setdefault(atom, []).append(Member(name, dim))
    for atom, touched in members.items():
        if not any(isinstance(tracer.tensors[member.tensor], nn.Parameter) for member in touched):
            freeze(atom, "only buffers, no parameters")
    names = _names(members, tracer.tensors)
    sizes = {name: tensor.numel() for name, tensor in tracer.tensors.items()}
    total_params = max(sum(sizes.values()), 1)
    total_flops = max(sum(spent for spent, _ in tracer.flops), 1)
    flops: Counter[Atom] = Counter()
    for spent, labels in tracer.flops:
        for atom in {atom for label in labels for atom in atoms(label)}:
            flops[atom] += spent
    groups = tuple(
        Group(
            name=names[atom],
            kind=_kind(touched, tracer.tensors),
            size=atom.size,
            members=tuple(touched),
            share_params=sum(sizes[tensor] for tensor in {member.tensor for member in touched}) / total_params,
            share_flops=flops[atom] / total_flops,
            frozen_reason=atom.reason,
        )
        for atom, touched in members.items()
    )
    layouts = {name: tuple(_layout(label, names) for label in labels) for name, labels in tracer.seeds.items()}
    conv_groups = {name: _layout(label, names) for name, label in tracer.conv_groups.items()}
    views = tuple(tuple(_layout(label, names) for label in labels) for labels in tracer.viewed)
    return Traced(groups, layouts, conv_groups, views)


def _names(members: Mapping[Atom, list[Member]], tensors: Mapping[str, Tensor]) -> dict[Atom, str]:
    """A group is called after the module that produces it, one without a producer after its first member.

    A number is added where that is not unique.
    """
    plain = {atom: _producer(touched, tensors) for atom, touched in members.items()}
    taken = Counter(plain.values())
    seen: Counter[str] = Counter()
    names: dict[Atom, str] = {}
    for atom, name in plain.items():
        seen[name] += 1
        names[atom] = name if taken[name] == 1 else f"{name}#{seen[name]}"
    return names


def _producer(touched: list[Member], tensors: Mapping[str, Tensor]) -> str:
    weights = [member for member in touched if member.dim == 0 and tensors[member.tensor].dim() > 1]
    if not weights:
        return str(touched[0])
    return weights[0].tensor.rpartition(".")[0] or weights[0].tensor


def _kind(touched: list[Member], tensors: Mapping[str, Tensor]) -> Kind:
    return "channel" if any(tensors[member.tensor].dim() > 2 for member in touched) else "neuron"


def _layout(label: Label, names: Mapping[Atom, str]) -> Layout:
    label = resolve(label)
    if isinstance(label, Atom):
        return Fixed(label.size) if label.reason or label not in names else Part(names[label], label.size)
    if isinstance(label, Prod):
        return Product(tuple(_layout(factor, names) for factor in label.factors)) if label.factors else Fixed(1)
    return Concat(tuple(_layout(term, names) for term in label.terms))
