"""What tracing found, as frozen data: groups and the layout of every parameter. Knows no operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from autoprune.core.space import Group
from autoprune.surgery.layout import Concat, Fixed, Layout, Part, Product, size


@dataclass(frozen=True)
class Traced:
    """The groups of a model, and how its tensors are made of them.

    layouts: tensor name -> one layout a dimension (tied tensors under their first name);
    conv_groups: name of a grouped convolution's weight -> layout of its `groups`;
    views: the layouts of the result of each view of the run, in order.
    """

    groups: tuple[Group, ...]
    layouts: Mapping[str, tuple[Layout, ...]]
    conv_groups: Mapping[str, Layout]
    views: tuple[tuple[Layout, ...], ...] = ()

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def frozen(self, reasons: Mapping[str, str]) -> Traced:
        """A copy in which the named groups stay whole, each with its reason."""
        groups = tuple(replace(g, frozen_reason=reasons.get(g.name) or g.frozen_reason) for g in self.groups)
        layouts = {name: tuple(_fix(dim, reasons) for dim in dims) for name, dims in self.layouts.items()}
        conv_groups = {name: _fix(dim, reasons) for name, dim in self.conv_groups.items()}
        views = tuple(tuple(_fix(dim, reasons) for dim in dims) for dims in self.views)
        return Traced(groups, layouts, conv_groups, views)


def _fix(layout: Layout, names: Mapping[str, str]) -> Layout:
    if isinstance(layout, Part):
        return Fixed(layout.size) if layout.group in names else layout
    if isinstance(layout, Product):
        return Product(tuple(_fix(child, names) for child in layout.factors))
    if isinstance(layout, Concat):
        return Concat(tuple(_fix(child, names) for child in layout.terms))
    return Fixed(size(layout))
