"""What a dimension of a parameter is made of, as frozen data. Knows groups by name; nothing of how they were traced."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor


@dataclass(frozen=True)
class Fixed:
    """Indices that always stay."""

    size: int


@dataclass(frozen=True)
class Part:
    """The slices of a group."""

    group: str
    size: int


@dataclass(frozen=True)
class Product:
    """A row-major product."""

    factors: tuple[Layout, ...]


@dataclass(frozen=True)
class Concat:
    """A concatenation."""

    terms: tuple[Layout, ...]


Layout = Fixed | Part | Product | Concat


@dataclass(frozen=True)
class Formula:
    """A whole number that follows the groups: a sum of products, each a factor and the groups that it multiplies."""

    terms: tuple[tuple[Fraction, tuple[Part, ...]], ...]

    def value(self, counts: Mapping[str, int]) -> int:
        """The number with `counts` slices left of the groups that are named, the full size of the others."""
        total = Fraction(0)
        for factor, parts in self.terms:
            total += factor * math.prod(counts.get(part.group, part.size) for part in parts)
        return int(total)


def size(layout: Layout, counts: Mapping[str, int] | None = None) -> int:
    """The size of the dimension: the full one, or with `counts` slices left of the groups that are named."""
    if isinstance(layout, Fixed):
        return layout.size
    if isinstance(layout, Part):
        return (counts or {}).get(layout.group, layout.size)
    if isinstance(layout, Product):
        return math.prod(size(factor, counts) for factor in layout.factors)
    return sum(size(term, counts) for term in layout.terms)


def groups_in(layout: Layout) -> Iterator[str]:
    """The groups that the dimension is made of, each as often as it stands there."""
    if isinstance(layout, Part):
        yield layout.group
    elif not isinstance(layout, Fixed):
        for child in layout.terms if isinstance(layout, Concat) else layout.factors:
            yield from groups_in(child)


def positions(layout: Layout, slices: Mapping[str, Tensor]) -> Tensor | None:
    """Which positions of the dimension to take, in order (int64, 1-D); None for all as they are.

    slices: by group, the indices to take in order; a group that is absent is taken whole.
    """
    if isinstance(layout, Fixed):
        return None
    if isinstance(layout, Part):
        return slices.get(layout.group)
    children = layout.terms if isinstance(layout, Concat) else layout.factors
    chosen = [positions(child, slices) for child in children]
    if all(each is None for each in chosen):
        return None
    sizes = [size(child) for child in children]
    indices = [torch.arange(whole) if each is None else each for each, whole in zip(chosen, sizes, strict=True)]
    if isinstance(layout, Concat):
        offsets = [sum(sizes[:place]) for place in range(len(sizes))]
        return torch.cat([each + offset for each, offset in zip(indices, offsets, strict=True)])
    found = torch.zeros(1, dtype=torch.int64)
    for each, whole in zip(indices, sizes, strict=True):
        found = (found[:, None] * whole + each[None, :]).flatten()
    return found


def slice_of_position(layout: Layout, group: str) -> Iterator[Tensor]:
    """For each place where `group` stands in the dimension: the group's index at every position, -1 where none."""
    if isinstance(layout, Part) and layout.group == group:
        yield torch.arange(layout.size)
    elif isinstance(layout, Concat):
        total, offset = size(layout), 0
        for term in layout.terms:
            for index in slice_of_position(term, group):
                whole = torch.full((total,), -1)
                whole[offset : offset + len(index)] = index
                yield whole
            offset += size(term)
    elif isinstance(layout, Product):
        sizes = [size(factor) for factor in layout.factors]
        for place, factor in enumerate(layout.factors):
            for index in slice_of_position(factor, group):
                shape = [1] * len(sizes)
                shape[place] = -1
                yield index.view(shape).expand(sizes).flatten()
