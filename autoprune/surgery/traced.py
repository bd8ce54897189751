"""What tracing found, as frozen data: groups, the layout of every tensor, and what modules must remember of sizes.

Knows no operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from autoprune.core.group import Group
from autoprune.core.markup import table_html
from autoprune.surgery.bases import Basis
from autoprune.surgery.contractions import Contraction
from autoprune.surgery.layers import Drop
from autoprune.surgery.layout import Concat, Fixed, Formula, Layout, Part, Product, size
from autoprune.surgery.made_weights import Made
from autoprune.surgery.noise import Drawn
from autoprune.surgery.tracked_int import Attribute

#: Groups that a notebook shows at most.
_SHOWN: Final = 100


@dataclass(frozen=True)
class Traced:
    """The groups of a model, and how its tensors are made of them.

    Attributes:
        groups: All of them, those that stay whole with the reason.
        layouts: By tensor (tied ones under their first name), one layout a dimension.
        formulas: What attributes of modules must hold.
        layers: By name of a group of kind layer, how it is dropped.
        work: Operations of each operator that costs any, with the groups that it touches.
        notes: What could not be done.
        noise: What the model draws at random: of each dimension its size, and whether it may be cut.
        reading: By weight, how it reads its inputs.
        grouped: The same of convolutions in groups.
        made: Weights that modules make of others when they run, by name.
        bases: By group, what is known of the basis that its slices are axes of.
    """

    groups: tuple[Group, ...]
    layouts: Mapping[str, tuple[Layout, ...]] = field(repr=False)
    formulas: Mapping[Attribute, Formula] = field(repr=False)
    layers: Mapping[str, Drop] = field(repr=False)
    work: tuple[tuple[int, tuple[str, ...]], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    noise: tuple[Drawn, ...] = field(default=(), repr=False)
    reading: Mapping[str, Contraction] = field(default_factory=dict, repr=False)
    grouped: Mapping[str, Contraction] = field(default_factory=dict, repr=False)
    made: Mapping[str, Made] = field(default_factory=dict, repr=False)
    bases: Mapping[str, Basis] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Traced({self._counted()})"

    def _repr_html_(self) -> str:
        """The groups as a notebook shows them: those that may be cut, then the others with their reasons."""
        groups = sorted(self.groups, key=lambda group: bool(group.frozen_reason))
        rows = [[g.name, g.kind, str(g.size), f"{g.share_params:.1%}", g.frozen_reason] for g in groups[:_SHOWN]]
        left = len(groups) - len(rows)
        caption = f"{self._counted()}; {left} more" if left else self._counted()
        return table_html([["group", "kind", "size", "params", "stays whole because"], *rows], caption)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    @property
    def open(self) -> tuple[Group, ...]:
        """The groups that may be cut."""
        return tuple(group for group in self.groups if not group.frozen_reason)

    def frozen(self, reasons: Mapping[str, str]) -> Traced:
        """A copy in which the named groups stay whole, each with its reason, and those tied to them."""
        ties = {g.tie: reasons[g.name] for g in self.groups if g.tie and g.name in reasons}
        reasons = {**{g.name: ties[g.tie] for g in self.groups if g.tie in ties}, **reasons}
        groups = tuple(replace(g, frozen_reason=g.frozen_reason or reasons.get(g.name, "")) for g in self.groups)
        layouts = {name: tuple(_fix(dim, reasons) for dim in dims) for name, dims in self.layouts.items()}
        return replace(self, groups=groups, layouts=layouts)

    def _counted(self) -> str:
        kinds = Counter(group.kind for group in self.open)
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
        return f"{len(self.open)} of {len(self.groups)} groups can be cut: {named}"

    def summary(self) -> str:
        """A few lines for people: how many groups of each kind, and why the others stay whole; what keeps most
        parameters comes first."""
        lines = [self._counted()]
        closed = [group for group in self.groups if group.frozen_reason]
        counted = Counter(group.frozen_reason for group in closed)
        shares = {each: sum(g.share_params for g in closed if g.frozen_reason == each) for each in counted}
        largest = sorted(shares, key=lambda reason: shares[reason], reverse=True)
        lines += [f"  {counted[reason]} kept whole: {reason}" for reason in largest]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _fix(layout: Layout, names: Mapping[str, str]) -> Layout:
    if isinstance(layout, Part):
        return Fixed(layout.size) if layout.group in names else layout
    if isinstance(layout, Product):
        return Product(tuple(_fix(child, names) for child in layout.factors))
    if isinstance(layout, Concat):
        return Concat(tuple(_fix(child, names) for child in layout.terms))
    return Fixed(size(layout))
