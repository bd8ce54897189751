"""Sizes that stand in a graph as numbers. Knows how they follow from the weights' sizes, as far as examples have shown.

A view's shape, a hidden size, the zeros of a missing bias and the scale of an attention are literals: numbers in the
graph that a cut model has otherwise. Each is a *reading* of the graph, always taken in the same order. Of several
exported graphs of one structure, a literal is explained where it stays equal, or where it is in proportion to one size
of a weight, or to two, or to the root or the inverse of one. The simplest explanation counts until another graph
contradicts it. It may be wrong, so what a derived graph computes must be compared with the model.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
from onnx import AttributeProto, numpy_helper

#: Sizes by name, whatever names them.
Sizes = Mapping[Hashable, int]

#: Constants with more different elements than this are data, not sizes.
_ELEMENTS: Final = 64
_POWERS: Final = (1.0, -1.0, 0.5, -0.5)
_CLOSE: Final = 1e-6


@dataclass(frozen=True)
class _Rule:
    """A literal is its value in the dense graph times the growth of these sizes, each to its power."""

    sizes: tuple[Hashable, ...] = ()
    power: float = 1.0


@dataclass
class Literals:
    """The literals of one graph structure.

    graph: of the dense model, whose sizes are given; readings: one row a graph seen.
    """

    graph: Any
    dense: Sizes
    _observed: list[tuple[Sizes, list[Any]]] = field(default_factory=list, init=False)
    _rules: list[_Rule | None] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._shape = structure(self.graph)
        self._observed.append((self.dense, readings(self.graph)))
        self._rules = [_Rule() for _ in self._observed[0][1]]

    def learn(self, graph: Any, sizes: Sizes) -> None:
        """Take in another graph; one of another structure teaches nothing."""
        found = readings(graph)
        if structure(graph) != self._shape or len(found) != len(self._rules):
            return
        self._observed.append((sizes, found))
        grown = self._growth()
        values = list(zip(*(row for _, row in self._observed), strict=True))
        self._rules = [_explained(each, grown) for each in values]

    def write(self, graph: Any, sizes: Sizes) -> bool:
        """Put the literals of a model of these sizes into a copy of the dense graph; False where one is unexplained."""
        values = []
        for rule, value in zip(self._rules, self._observed[0][1], strict=True):
            found = None if rule is None else self._value(rule, value, sizes)
            if found is None:
                return False
            values.append(found)
        rewrite(graph, values)
        return True

    def _value(self, rule: _Rule, value: Any, sizes: Sizes) -> Any:
        if not rule.sizes:
            return value
        if not all(sizes.get(size) for size in rule.sizes):
            return None
        if isinstance(value, int):
            exact = Fraction(value)
            for size in rule.sizes:
                exact *= Fraction(sizes[size], self.dense[size]) ** int(rule.power)
            return int(exact) if exact.denominator == 1 else None
        growth = math.prod(sizes[size] / self.dense[size] for size in rule.sizes)
        return value * growth**rule.power

    def _growth(self) -> dict[tuple[float, ...], Hashable]:
        """How each size grew over the graphs seen, relative to dense; one size for each way that occurs."""
        grown = {
            tuple(sizes[key] / self.dense[key] for sizes, _ in self._observed): key
            for key in self.dense
            if self.dense[key]
        }
        return {ways: key for ways, key in grown.items() if any(way != 1 for way in ways)}


def _explained(values: Sequence[Any], grown: Mapping[tuple[float, ...], Hashable]) -> _Rule | None:
    """The simplest rule for a literal's values in all graphs; None where there is none."""
    first = values[0]
    if all(value in (first, -1) for value in values):
        return _Rule()
    if isinstance(first, bytes) or not first:
        return None
    ratios = np.array([value / first for value in values])
    # A view's -1 means "what is left": it agrees with any explanation.
    told = np.array([value != -1 for value in values])
    powers = (1.0, -1.0) if isinstance(first, int) else _POWERS
    for count in (1, 2):
        for ways in combinations_with_replacement(grown, count):
            product = np.prod(np.array(ways), axis=0)
            for power in powers:
                if np.allclose((product**power)[told], ratios[told], rtol=_CLOSE):
                    return _Rule(tuple(grown[way] for way in ways), power)
    return None


def places(graph: Any) -> Iterator[tuple[Any, Any]]:
    """Every node, also those within others, with the graph that it is in."""
    for node in graph.node:
        yield node, graph
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from places(attribute.g)


def structure(graph: Any) -> list[Any]:
    """What two graphs must share for the literals of one to mean the same in the other."""
    return [
        (node.op_type, list(node.input), list(node.output), [attribute.name for attribute in node.attribute])
        for node, _ in places(graph.graph)
    ]


def readings(graph: Any) -> list[Any]:
    """All literals in order: ints, floats, and bytes for what is data."""
    found: list[Any] = []
    for holder, kind in _holders(graph):
        if kind == "tensor":
            found += _tensor_readings(numpy_helper.to_array(holder))
        else:
            found += [getattr(holder, kind)] if kind in ("i", "f") else list(getattr(holder, kind))
    return found


def rewrite(graph: Any, values: Sequence[Any]) -> None:
    """Put literals back, in the order in which `readings` finds them."""
    left = iter(values)
    for holder, kind in _holders(graph):
        if kind == "tensor":
            old = numpy_helper.to_array(holder)
            new = _tensor_written(old, left)
            if new is not old:
                holder.CopyFrom(numpy_helper.from_array(new, holder.name))
        elif kind in ("i", "f"):
            setattr(holder, kind, next(left))
        else:
            numbers = getattr(holder, kind)
            numbers[:] = [next(left) for _ in numbers]


def _holders(graph: Any) -> Iterator[tuple[Any, str]]:
    """Whatever holds literals: constant tensors, and attributes that are numbers."""
    kinds = {
        AttributeProto.INT: "i",
        AttributeProto.INTS: "ints",
        AttributeProto.FLOAT: "f",
        AttributeProto.FLOATS: "floats",
    }
    yield from ((tensor, "tensor") for tensor in graph.graph.initializer)
    for node, _ in places(graph.graph):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t, "tensor"
            elif attribute.type in kinds:
                yield attribute, kinds[attribute.type]


def _tensor_readings(array: Any) -> list[Any]:
    """Of equal elements the shape and the element; of few numbers each of them; of more the bytes as a whole."""
    if _uniform(array):
        return [*array.shape, array.flat[0].item()]
    if array.size <= _ELEMENTS and array.dtype.kind in "iuf":
        return [each.item() for each in array.flat]
    return [array.tobytes()]


def _tensor_written(old: Any, left: Iterator[Any]) -> Any:
    """The inverse; `old` itself where nothing changed."""
    if _uniform(old):
        shape = tuple(next(left) for _ in old.shape)
        value = next(left)
        same = shape == old.shape and value == old.flat[0].item()
        return old if same else np.full(shape, value, old.dtype)
    if old.size <= _ELEMENTS and old.dtype.kind in "iuf":
        values = [next(left) for _ in range(old.size)]
        return np.array(values, old.dtype).reshape(old.shape)
    next(left)
    return old


def _uniform(array: Any) -> bool:
    """Whether a tensor is one number repeated, such as the zeros of a missing bias; a single number is no shape."""
    return array.ndim > 0 and array.size > 1 and array.dtype.kind in "fb" and bool((array == array.flat[0]).all())
