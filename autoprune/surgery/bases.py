"""Dimensions whose basis may be changed: what is written into them is read by sums alone. Knows rows and where they go,
and layouts; not which basis is a good one.

With z = T z for what is written, a product z'y stays as it is where y becomes T^-T y, and a weight V that reads z where
it becomes V T^-1. Heads of attention have one each for queries with keys, and for values with what reads them; a
matrix that was factorised has one between its factors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autoprune.core.group import Group
from autoprune.surgery.contractions import Contraction
from autoprune.surgery.layout import Layout, groups_in, size, slice_of_position
from autoprune.surgery.provenance import ProvenanceWatch

#: Rows of weights by number, in the order of the axes of a basis.
Vector = tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Places of a weight along one of its dimensions, one an axis; and of its bias, where it writes and has one."""

    weight: str
    dim: int
    places: tuple[int, ...]
    bias: str = ""


@dataclass(frozen=True)
class Block:
    """One basis. slices: of the group, one an axis; writes: weights that write what is multiplied with what those of
    `against` write, and summed, and then by `scale`; reads: weights that read it."""

    slices: tuple[int, ...]
    writes: tuple[Rows, ...]
    against: tuple[Rows, ...] = ()
    reads: tuple[Rows, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True)
class Basis:
    """Of one group. free: whether each block may be given another basis; otherwise its axes can be compared alone."""

    blocks: tuple[Block, ...]
    free: bool

    @property
    def written(self) -> frozenset[str]:
        """Names of the weights that write what stands in it."""
        return frozenset(rows.weight for block in self.blocks for rows in (*block.writes, *block.against))


def bases(
    watch: ProvenanceWatch,
    reading: Mapping[str, Contraction],
    groups: Sequence[Group],
    layouts: Mapping[str, tuple[Layout, ...]],
) -> dict[str, Basis]:
    """By group, what is known of its basis; without groups that nothing is known of.

    Args:
        watch: That saw the model run.
        reading: How weights read their inputs, by weight.
        groups: Of the model.
        layouts: By tensor, one a dimension.
    """
    found: dict[str, list[tuple[Block, bool]]] = defaultdict(list)
    rooms = _Rooms(watch, reading, layouts)
    for block, vectors in (*_products(rooms), *_mixtures(rooms)):
        group = rooms.group(vectors[0])
        if group and len({rooms.slices(vector, group) for vector in vectors}) == 1:
            free = not any(row in rooms.exposed for vector in vectors for row in vector)
            found[group].append((block, free and len(set(block.slices)) == len(block.slices)))
    known: dict[str, Basis] = {}
    for each in groups:
        if each.name in found:
            blocks = tuple(block for block, _ in found[each.name])
            whole = all(free for _, free in found[each.name]) and _covers(blocks, each, layouts)
            if whole or any(block.against for block in blocks):
                known[each.name] = Basis(blocks, whole)
    return known


def as_proved(found: Mapping[str, Basis], proved: Mapping[str, Basis]) -> dict[str, Basis]:
    """Bases of a model that was cut, of which those are free that were proved to be in the dense one."""
    free = {name for name, each in proved.items() if each.free}
    return {name: replace(each, free=each.free and name in free) for name, each in found.items()}


class _Rooms:
    """Rows with the weights and groups that they are of."""

    def __init__(
        self, watch: ProvenanceWatch, reading: Mapping[str, Contraction], layouts: Mapping[str, tuple[Layout, ...]]
    ) -> None:
        self.watch = watch
        #: Weights that write one number for each of their rows, at one place.
        self.reading = {
            name: each
            for name, each in reading.items()
            if each.groups == 1 and all(size(dim) == 1 for dim in layouts[name][2:])
        }
        self.exposed = set(watch.exposed)
        self._scales = watch.scales
        self._slices: dict[str, dict[str, list[int]]] = {}
        for weight in {weight for weight, _ in watch.rows} & self.reading.keys():
            layout = layouts[weight][1 - reading[weight].dim]
            self._slices[weight] = {group: _indices(layout, group) for group in dict.fromkeys(groups_in(layout))}
        #: By row, where weights read it.
        self.readers: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for weight, times in watch.read.items():
            for ids in {tuple(each.tolist()) for each in times}:
                for column, row in enumerate(ids):
                    self.readers[row].append((weight, column))
        self.exposed |= {
            row for row, places in self.readers.items() if any(weight not in self.reading for weight, _ in places)
        }

    def weight(self, vector: Vector) -> str:
        """The one weight that has all of the rows; empty where there are several, or it is read in other ways, too."""
        weights = {self.watch.rows[row][0] for row in vector}
        name = weights.pop()
        return "" if weights or name not in self.reading else name

    def group(self, vector: Vector) -> str:
        """The group of which each slice stands in the rows equally often; empty where there is none."""
        for group, slices in self._slices.get(self.weight(vector), {}).items():
            found = sorted(slices[self.watch.rows[row][1]] for row in vector)
            whole = max(slices) + 1
            if whole > 1 and len(found) % whole == 0 and found == sorted([*range(whole)] * (len(found) // whole)):
                return group
        return ""

    def slices(self, vector: Vector, group: str) -> tuple[int, ...]:
        """Of the group, one a row; empty where the rows are of another one."""
        slices = self._slices.get(self.weight(vector), {}).get(group)
        return () if slices is None else tuple(slices[self.watch.rows[row][1]] for row in vector)

    def block(
        self, writes: Sequence[Vector], against: Sequence[Vector] = (), reads: Sequence[tuple[str, Vector]] = ()
    ) -> Block:
        """Of rows that stand together axis by axis; axes in the order of slices."""
        slices = self.slices(writes[0], self.group(writes[0]))
        order = sorted(range(len(slices)), key=slices.__getitem__)

        def written(vector: Vector) -> Rows:
            contraction = self.reading[self.weight(vector)]
            places = tuple(self.watch.rows[vector[axis]][1] for axis in order)
            return Rows(contraction.weight, 1 - contraction.dim, places, contraction.bias)

        return Block(
            scale=self._scales.get((self.weight(writes[0]), self.weight(against[0])), 1.0) if against else 1.0,
            slices=tuple(slices[axis] for axis in order),
            writes=tuple(map(written, writes)),
            against=tuple(map(written, against)),
            reads=tuple(
                Rows(weight, self.reading[weight].dim, tuple(columns[axis] for axis in order))
                for weight, columns in reads
                if weight in self.reading
            ),
        )


def _products(rooms: _Rooms) -> Iterator[tuple[Block, list[Vector]]]:
    """Rows that are multiplied with each other, those that share a partner together (grouped queries)."""
    partners: dict[Vector, set[Vector]] = defaultdict(set)
    lefts: set[Vector] = set()
    for product in rooms.watch.products:
        for left, right in zip(map(tuple, product.left.tolist()), map(tuple, product.right.tolist()), strict=True):
            partners[left].add(right)
            partners[right].add(left)
            lefts.add(left)
            if not product.plain:
                rooms.exposed.update((*left, *right))
    seen: set[Vector] = set()
    for start in [each for each in partners if each in lefts]:
        if start in seen:
            continue
        sides: tuple[dict[Vector, None], dict[Vector, None]] = ({start: None}, {})
        waiting = [(start, 0)]
        while waiting:
            each, side = waiting.pop()
            seen.add(each)
            for partner in sorted(partners[each]):
                if partner not in sides[1 - side]:
                    sides[1 - side][partner] = None
                    waiting.append((partner, 1 - side))
        if not all(map(rooms.weight, (*sides[0], *sides[1]))):
            continue
        if sides[0].keys() & sides[1].keys() or any(
            row in rooms.readers for each in (*sides[0], *sides[1]) for row in each
        ):
            rooms.exposed.update(row for each in (*sides[0], *sides[1]) for row in each)
        yield rooms.block([*sides[0]], [*sides[1]]), [*sides[0], *sides[1]]


def _mixtures(rooms: _Rooms) -> Iterator[tuple[Block, list[Vector]]]:
    """Rows that weights read, those that are mixed alike together."""
    multiplied = {
        row
        for product in rooms.watch.products
        for each in (product.left, product.right)
        for row in each.unique().tolist()
    }
    ways: dict[int, list[int]] = defaultdict(list)
    for number, vector in enumerate(row for mixed in rooms.watch.mixed for row in mixed.tolist()):
        for row in vector:
            ways[row].append(number)
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for row in sorted(rooms.readers.keys() - multiplied):
        alike[rooms.watch.rows[row][0], tuple(ways[row])].append(row)
    for rows in map(tuple, alike.values()):
        places = [rooms.readers[row] for row in rows]
        if rooms.weight(rows) and len({tuple(weight for weight, _ in each) for each in places}) == 1:
            together = [tuple(zip(*each, strict=True)) for each in zip(*places, strict=True)]
            reads = [(weights[0], columns) for weights, columns in together]
            yield rooms.block([rows], reads=reads), [rows]


def _covers(blocks: Sequence[Block], group: Group, layouts: Mapping[str, tuple[Layout, ...]]) -> bool:
    """Whether the group stands nowhere else."""
    covered: set[tuple[str, int, int]] = set()
    for block in blocks:
        for rows in (*block.writes, *block.against, *block.reads):
            covered.update((rows.weight, rows.dim, place) for place in rows.places)
            covered.update((rows.bias, 0, place) for place in rows.places if rows.bias)
    wanted = {
        (member.tensor, member.dim, place)
        for member in group.members
        if member.dim is not None
        for place, index in enumerate(_indices(layouts[member.tensor][member.dim], group.name))
        if index >= 0
    }
    return wanted == covered


def _indices(layout: Layout, group: str) -> list[int]:
    """The group's slice at each position of a dimension, -1 where it is not."""
    found: Tensor = torch.stack([*slice_of_position(layout, group)]).amax(0)
    return found.tolist()
