"""From labels to groups: which atoms touch parameters, how they are called, and what share of the model they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from autoprune.core.group import Group, Kind, Member
from autoprune.surgery.equations import Equation, formula, solve
from autoprune.surgery.labels import Atom, Label, Prod, atoms, freeze, resolve
from autoprune.surgery.layers import Drop
from autoprune.surgery.layout import Concat, Fixed, Layout, Part, Product
from autoprune.surgery.made_weights import Made
from autoprune.surgery.rules.contraction import KERNEL, SPATIAL
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import Tracer

#: A table that a run left behind looks like this; a fresh model without it would have other groups.
MADE = "made by a tensor that is no parameter"
HIDDEN = ("weight_hh", "bias_hh")


def collect(
    tracer: Tracer, equations: Iterable[Equation], parameters: Mapping[str, Tensor], drops: Iterable[Drop]
) -> Traced:
    """Every atom that a parameter contains is a group, frozen ones with their reason; kernel windows and
    positions in an image are not shown, nor what touches buffers alone. parameters: by name, as the model has them."""
    for atom, touched in _members(tracer).items():
        among = [member for member in touched if member.tensor in parameters]
        if not among:
            freeze(atom, "only buffers, no parameters")
        elif len(among) == 1 and len(touched) > 1:
            freeze(atom, MADE)
    solution = solve(equations, tracer.multiples)
    members = {
        atom: touched
        for atom, touched in _members(tracer).items()
        if any(member.tensor in parameters for member in touched)
    }
    names = _names(members, tracer.tensors)
    lowest = set(map(resolve, tracer.floors))
    units = {
        atom: (min(names[each] for each in tie if each in names), unit)
        for tie in solution.ties
        for atom, unit in tie.items()
        if atom in names
    }
    cost = _Cost.of(tracer, parameters)
    kinds = _Kinds(tracer)
    groups = [
        Group(
            name=names[atom],
            kind=kinds.of(atom, touched),
            size=atom.size,
            members=tuple(touched),
            step=units[atom][1] if atom in units and not atom.reason else 1,
            floor=max(units[atom][1] if atom in units and not atom.reason else 1, 1 + (atom in lowest)),
            share_params=cost.params({member.tensor for member in touched}),
            share_flops=cost.flops(atom),
            frozen_reason=atom.reason,
            tie=units[atom][0] if atom in units and not atom.reason else "",
        )
        for atom, touched in members.items()
    ]
    layers: dict[str, Drop] = {}
    taken = {group.name for group in groups}
    for drop in drops:
        inside = [name for name in parameters if name.startswith(f"{drop.module}.")]
        if inside:
            name = drop.module if drop.module not in taken else f"{drop.module}#layer"
            layers[name] = drop
            groups.append(
                Group(
                    name, "layer", 1, tuple(map(Member, inside)), floor=0,
                    share_params=cost.params(inside), share_flops=drop.flops / cost.total_flops,
                )
            )  # fmt: skip
    made = {
        name: Made(tuple(layout_of(label, names) for label in labels), tracer.ingredients[name])
        for name, labels in tracer.made.items()
    }
    layouts = {name: tuple(layout_of(label, names) for label in labels) for name, labels in tracer.seeds.items()}
    formulas = {attribute: formula(poly, names) for attribute, poly in solution.attributes.items()}
    work = tuple(
        (flops, tuple(dict.fromkeys(names[atom] for label in labels for atom in atoms(label) if atom in names)))
        for flops, labels in tracer.flops
    )
    drawn = (
        tuple((label.size, any(not atom.reason for atom in atoms(label))) for label in labels)
        for labels in tracer.noise
    )
    return Traced(
        groups=tuple(groups), layouts=layouts, formulas=formulas, layers=layers, work=work, notes=tuple(tracer.notes),
        made=made, noise=tuple(dict.fromkeys(drawn)),
    )  # fmt: skip


def _members(tracer: Tracer) -> dict[Atom, list[Member]]:
    """What each atom stands in; where nothing stands there is nothing to keep."""
    members: dict[Atom, list[Member]] = {}
    for name, labels in tracer.seeds.items():
        for dim, label in enumerate(labels):
            for atom in dict.fromkeys(atoms(label)):
                if atom.size and atom.reason not in (KERNEL, SPATIAL):
                    members.setdefault(atom, []).append(Member(name, dim))
    return members


@dataclass(frozen=True)
class _Cost:
    """Shares of the whole model."""

    sizes: Mapping[str, int]
    spent: Counter[Atom]
    total_params: int
    total_flops: int

    @classmethod
    def of(cls, tracer: Tracer, parameters: Mapping[str, Tensor]) -> _Cost:
        spent: Counter[Atom] = Counter()
        for flops, labels in tracer.flops:
            for atom in {atom for label in labels for atom in atoms(label)}:
                spent[atom] += flops
        sizes = {name: tensor.numel() for name, tensor in parameters.items()}
        return cls(sizes, spent, max(sum(sizes.values()), 1), max(sum(flops for flops, _ in tracer.flops), 1))

    def params(self, tensors: Iterable[str]) -> float:
        return sum(self.sizes.get(tensor, 0) for tensor in tensors) / self.total_params

    def flops(self, atom: Atom) -> float:
        return self.spent[atom] / self.total_flops


class _Kinds:
    """What a group is called in the field, from what was done with its atom."""

    def __init__(self, tracer: Tracer) -> None:
        self._tensors = tracer.tensors
        self._roles: dict[Atom, Kind] = {}
        for label, kind in tracer.roles:
            for atom in atoms(label):
                if kind == "head" or atom not in self._roles:  # a table of biases has an entry for each head
                    self._roles[atom] = kind

    def of(self, atom: Atom, touched: list[Member]) -> Kind:
        if any(part in member.tensor for member in touched for part in HIDDEN):
            return "hidden"
        if atom in self._roles:
            return self._roles[atom]
        if any(self._table(member) for member in touched):
            return "embedding"
        return "channel" if any(self._tensors[member.tensor].dim() > 2 for member in touched) else "neuron"

    def _table(self, member: Member) -> bool:
        """Whether it is the width of a table of positions or of a token: (1, positions, width)."""
        shape = self._tensors[member.tensor].shape
        return len(shape) == 3 and shape[0] == 1 and member.dim == 2


def _names(members: Mapping[Atom, list[Member]], tensors: Mapping[str, Tensor]) -> dict[Atom, str]:
    """A group is called after the module that produces it, one without a producer after its first member.

    A number is added where that is not unique.
    """
    plain = {atom: _producer(touched, tensors) for atom, touched in members.items()}
    taken = Counter(plain.values())
    used = set(taken)
    seen: Counter[str] = Counter()
    names: dict[Atom, str] = {}
    for atom, name in plain.items():
        unique = name
        while taken[name] > 1 and (unique == name or unique in used):
            seen[name] += 1
            unique = f"{name}#{seen[name]}"
        used.add(unique)
        names[atom] = unique
    return names


def _producer(touched: list[Member], tensors: Mapping[str, Tensor]) -> str:
    weights = [member for member in touched if member.dim == 0 and tensors[member.tensor].dim() > 1]
    if not weights:
        return str(touched[0])
    return weights[0].tensor.rpartition(".")[0] or weights[0].tensor


def layout_of(label: Label, names: Mapping[Atom, str]) -> Layout:
    """The label as frozen data; atoms without a name are fixed."""
    label = resolve(label)
    if isinstance(label, Atom):
        return Fixed(label.size) if label.reason or label not in names else Part(names[label], label.size)
    if isinstance(label, Prod):
        return Product(tuple(layout_of(factor, names) for factor in label.factors)) if label.factors else Fixed(1)
    return Concat(tuple(layout_of(term, names) for term in label.terms))
