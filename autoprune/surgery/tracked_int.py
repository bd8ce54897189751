"""Whole numbers that remember where they came from. Knows arithmetic; not models, tensors or what becomes of it.

A `Tagged` is an int to everybody else. What it was made of is an expression: the size of a dimension (its label), an
attribute of a module, or whole-number arithmetic on these. What becomes a float, or goes through `int()`, is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from autoprune.surgery.labels import Label

Operator = Literal["+", "-", "*", "//", "%"]


@dataclass(frozen=True)
class Item:
    """What lies in a container, under a key or at a place."""

    key: str | int

    def __str__(self) -> str:
        return str(self.key)


#: To an attribute, by its name, or into a container.
Step = str | Item


@dataclass(frozen=True, eq=False)
class Attribute:
    """A whole number that a module keeps: `path` leads from the module named `module` to it; `size` is its value."""

    module: str
    path: tuple[Step, ...]
    size: int

    def __str__(self) -> str:
        return ".".join(filter(None, (self.module, *map(str, self.path))))


@dataclass(frozen=True, eq=False)
class Operation:
    """Whole-number arithmetic; `size` is the result."""

    operator: Operator
    left: Expression
    right: Expression
    size: int


Expression = int | Attribute | Label | Operation


class TrackedInt(int):
    """An int with its expression; `seen` is called with what a comparison found equal, and with remainders of 0."""

    expression: Expression
    seen: Callable[[Expression, Expression], None]

    def __new__(cls, value: int, expression: Expression, seen: Callable[[Expression, Expression], None]) -> TrackedInt:
        tagged = super().__new__(cls, value)
        tagged.expression = expression
        tagged.seen = seen
        return tagged

    def __deepcopy__(self, memo: dict[int, Any]) -> TrackedInt:
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __eq__(self, other: object) -> bool:
        same = int.__eq__(self, other)
        if same is True and self > 1:
            self.seen(self.expression, expression_of(other))  # type: ignore[arg-type]
        return same

    def __ne__(self, other: object) -> bool:
        same = self.__eq__(other)
        return same if same is NotImplemented else not same

    __hash__ = int.__hash__

    def __add__(self, other: int) -> Any:
        return _combined("+", self, other)

    def __radd__(self, other: int) -> Any:
        return _combined("+", other, self)

    def __sub__(self, other: int) -> Any:
        return _combined("-", self, other)

    def __rsub__(self, other: int) -> Any:
        return _combined("-", other, self)

    def __mul__(self, other: int) -> Any:
        return _combined("*", self, other)

    def __rmul__(self, other: int) -> Any:
        return _combined("*", other, self)

    def __floordiv__(self, other: int) -> Any:
        return _combined("//", self, other)

    def __rfloordiv__(self, other: int) -> Any:
        return _combined("//", other, self)

    def __mod__(self, other: int) -> Any:
        rest = int.__mod__(self, other)
        if rest == 0 and type(other) is int:  # mostly asked to know whether it is
            self.seen(Operation("%", self.expression, other, 0), 0)
        return rest

    def __neg__(self) -> Any:
        return _combined("-", 0, self)


_PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "+": int.__add__,
    "-": int.__sub__,
    "*": int.__mul__,
    "//": int.__floordiv__,
}


def expression_of(value: int) -> Expression:
    """What a number is made of: itself, if it was not tagged."""
    return value.expression if isinstance(value, TrackedInt) else value


def size_of(expression: Expression) -> int:
    """The number that an expression had."""
    return expression if isinstance(expression, int) else expression.size


def _combined(operator: Operator, left: Any, right: Any) -> Any:
    if not isinstance(left, int) or not isinstance(right, int):
        return NotImplemented
    result = _PLAIN[operator](int(left), int(right))
    seen = left.seen if isinstance(left, TrackedInt) else right.seen  # type: ignore[attr-defined]
    return TrackedInt(result, Operation(operator, expression_of(left), expression_of(right), result), seen)
