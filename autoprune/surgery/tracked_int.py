"""Numbers that remember where they came from. Knows arithmetic; not models, tensors or what becomes of it.

A `TrackedInt` is an int to everybody else. What it was made of is an expression: the size of a dimension (its label),
an attribute of a module, or whole-number arithmetic on these. Its halves and shares are `TrackedFloat`, a float to
everybody else, which `floor`, `ceil` and `round` make whole again. What goes through `int()` is forgotten: Python makes
that an int of its own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, Final, Literal

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


Seen = Callable[[Expression, Expression], None]


def _plainly(operate: Callable[[Any, Any], Any], *, turned: bool = False) -> Any:
    """A method for an operator of which the result remembers nothing. NumPy leaves these to us as well."""

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, Real) and not hasattr(other, "__array__"):
            return NotImplemented
        left, right = _plain(self), _plain(other)
        return operate(right, left) if turned else operate(left, right)

    return method


def _with_origin(sign: str, *, turned: bool = False) -> Any:
    """A method for an operator of which the result remembers what it was made of."""

    def method(self: Any, other: Any) -> Any:
        return _combined(sign, other, self) if turned else _combined(sign, self, other)

    return method


class TrackedInt(int):
    """An int with its expression; `seen` is called with what a comparison found equal, and with remainders of 0."""

    #: What NumPy's own numbers and arrays go by to leave arithmetic to the other operand.
    __array_priority__ = 100.0
    expression: Expression
    seen: Seen

    def __new__(cls, value: int, expression: Expression, seen: Seen) -> TrackedInt:
        tagged = super().__new__(cls, value)
        tagged.expression = expression
        tagged.seen = seen
        return tagged

    def __deepcopy__(self, memo: dict[int, Any]) -> TrackedInt:
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __eq__(self, other: object) -> bool:
        same: bool = _EQUAL(self, other)
        if same is True and self > 1:
            self.seen(self.expression, expression_of(other))
        return same

    def __ne__(self, other: object) -> bool:
        same = self.__eq__(other)
        return not same if isinstance(same, bool) else _UNEQUAL(self, other)

    __hash__ = int.__hash__
    __lt__, __le__ = _plainly(operator.lt), _plainly(operator.le)
    __gt__, __ge__ = _plainly(operator.gt), _plainly(operator.ge)
    __and__, __rand__ = _plainly(operator.and_), _plainly(operator.and_, turned=True)
    __or__, __ror__ = _plainly(operator.or_), _plainly(operator.or_, turned=True)
    __xor__, __rxor__ = _plainly(operator.xor), _plainly(operator.xor, turned=True)
    __rlshift__, __rrshift__ = _plainly(operator.lshift, turned=True), _plainly(operator.rshift, turned=True)
    __rmod__, __rpow__ = _plainly(operator.mod, turned=True), _plainly(operator.pow, turned=True)
    __rdivmod__ = _plainly(divmod, turned=True)
    __add__, __radd__ = _with_origin("+"), _with_origin("+", turned=True)
    __sub__, __rsub__ = _with_origin("-"), _with_origin("-", turned=True)
    __mul__, __rmul__ = _with_origin("*"), _with_origin("*", turned=True)
    __floordiv__, __rfloordiv__ = _with_origin("//"), _with_origin("//", turned=True)
    __truediv__, __rtruediv__ = _with_origin("/"), _with_origin("/", turned=True)

    def __mod__(self, other: Any) -> Any:
        if not isinstance(other, Integral):
            return _REST(self, other)
        if int(self) % int(other):
            return self - self // other * other
        if not isinstance(other, TrackedInt):  # mostly asked to know whether it is
            self.seen(Operation("%", self.expression, int(other), 0), 0)
        return 0

    def __divmod__(self, other: Any) -> Any:
        return (self // other, self % other) if isinstance(other, Integral) else _BOTH(self, other)

    def __lshift__(self, places: int) -> Any:
        return self * (1 << places)

    def __rshift__(self, places: int) -> Any:
        return self // (1 << places)

    def __pow__(self, power: Any, modulo: Any = None) -> Any:
        if modulo is not None:
            return pow(int(self), power, modulo)
        small = type(power) is int and 0 < power <= _HIGHEST
        return math.prod([self] * power) if small else _POWER(self, power)

    def __neg__(self) -> Any:
        return _combined("-", 0, self)

    def __pos__(self) -> TrackedInt:
        return self

    __abs__ = __floor__ = __ceil__ = __trunc__ = __pos__  # sizes are not negative

    def __round__(self, digits: Any = None) -> Any:
        return self if digits is None else int.__round__(self, digits)


class TrackedFloat(float):
    """A float that is the quotient of two whole numbers; `exact` where it has no rounding in it, so that neither has
    what becomes of it when the code divides other sizes."""

    __array_priority__ = 100.0
    __hash__ = float.__hash__
    __eq__, __ne__ = _plainly(operator.eq), _plainly(operator.ne)
    __lt__, __le__ = _plainly(operator.lt), _plainly(operator.le)
    __gt__, __ge__ = _plainly(operator.gt), _plainly(operator.ge)
    __add__, __radd__ = _with_origin("+"), _with_origin("+", turned=True)
    __sub__, __rsub__ = _with_origin("-"), _with_origin("-", turned=True)
    __mul__, __rmul__ = _with_origin("*"), _with_origin("*", turned=True)
    __truediv__, __rtruediv__ = _with_origin("/"), _with_origin("/", turned=True)
    __floordiv__, __rfloordiv__ = _plainly(operator.floordiv), _plainly(operator.floordiv, turned=True)
    __mod__, __rmod__ = _plainly(operator.mod), _plainly(operator.mod, turned=True)
    __pow__, __rpow__ = _plainly(operator.pow), _plainly(operator.pow, turned=True)
    __divmod__, __rdivmod__ = _plainly(divmod), _plainly(divmod, turned=True)
    numerator: Expression
    denominator: Expression
    exact: bool
    seen: Seen

    def __deepcopy__(self, memo: dict[int, Any]) -> TrackedFloat:
        return self

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)

    def __floor__(self) -> int:
        return self._whole(math.floor(float(self))) if self.exact else math.floor(float(self))

    def __ceil__(self) -> int:
        return self._whole(math.ceil(float(self))) if self.exact else math.ceil(float(self))

    def __round__(self, digits: Any = None) -> Any:
        return self._whole(round(float(self))) if digits is None else round(float(self), digits)

    def _whole(self, value: int) -> TrackedInt:
        return TrackedInt(value, Operation("//", self.numerator, self.denominator, value), self.seen)


#: Highest power that is a product to us; and of what makes a share a fraction, such as 0.1 one tenth.
_HIGHEST, _FINEST = 4, 10**6
_PLAIN: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "/": operator.truediv,
}


_EQUAL, _UNEQUAL = _plainly(operator.eq), _plainly(operator.ne)
_REST, _BOTH, _POWER = _plainly(operator.mod), _plainly(divmod), _plainly(operator.pow)


def expression_of(value: Any) -> Expression:
    """What a number is made of: itself, if it was not tagged, also where another library's stands for it."""
    return value.expression if isinstance(value, TrackedInt) else int(value)


def size_of(expression: Expression) -> int:
    """The number that an expression had."""
    return expression if isinstance(expression, int) else expression.size


def _plain(value: Any) -> Any:
    """The number without what it remembers, as one of Python's own where it is whole."""
    if isinstance(value, TrackedFloat):
        return float(value)
    return int(value) if isinstance(value, Integral) else value


def _combined(sign: Any, left: Any, right: Any) -> Any:
    """What comes of two operands, of which one at least is tagged."""
    if isinstance(left, TrackedInt | TrackedFloat):
        seen, other = left.seen, right
    else:
        seen, other = right.seen, left
    if not isinstance(other, Integral | float):
        # Arrays and tensors, which would have to be asked first; any other knows what to do with an int.
        return _PLAIN[sign](_plain(left), _plain(right)) if hasattr(other, "__array__") else NotImplemented
    value = _PLAIN[sign](_plain(left), _plain(right))
    if isinstance(value, int):
        return TrackedInt(value, Operation(sign, expression_of(left), expression_of(right), value), seen)
    return _share(sign, left, right, value, seen)


def _share(sign: Any, left: Any, right: Any, value: Any, seen: Seen) -> Any:
    """A float with what it is the quotient of; the mere float where that cannot be told."""
    first, second = _fraction(left), _fraction(right)
    if sign == "//" or first is None or second is None:
        return value
    (above, below), (other_above, other_below) = first, second
    if sign == "/":
        other_above, other_below = other_below, other_above
    if sign in "*/":
        above = _operation("*", above, other_above)
    else:
        above = _operation(sign, _operation("*", above, other_below), _operation("*", other_above, below))
    below = _operation("*", below, other_below)
    if not size_of(below) or not math.isfinite(value):
        return value
    share = TrackedFloat(value)
    share.numerator, share.denominator, share.seen = above, below, seen
    share.exact = Fraction(value) == Fraction(size_of(above), size_of(below)) and all(map(_exact, (left, right)))
    return share


def _fraction(value: Any) -> tuple[Expression, Expression] | None:
    """A number as the quotient of whole ones."""
    if isinstance(value, TrackedFloat):
        return value.numerator, value.denominator
    if isinstance(value, Integral):
        return expression_of(value), 1
    if not math.isfinite(value):
        return None
    meant = Fraction(float(value)).limit_denominator(_FINEST)
    return (meant.numerator, meant.denominator) if float(meant) == value else None


def _exact(value: Any) -> bool:
    """Whether the number is what was meant: of one tenth there is no float."""
    if isinstance(value, TrackedFloat):
        return value.exact
    return isinstance(value, Integral) or Fraction(float(value)).denominator <= _FINEST


def _operation(sign: Operator, left: Expression, right: Expression) -> Expression:
    """The operation, worked out where it is one on numbers."""
    value = _PLAIN[sign](size_of(left), size_of(right))
    if isinstance(left, int) and isinstance(right, int):
        return int(value)
    if sign == "*" and 1 in (left, right):
        return right if left == 1 else left
    return Operation(sign, left, right, value)
