"""Polynomials over sizes, with exact coefficients. Knows algebra; not what a variable stands for.

A variable is any hashable object with a `size`, the number it had in the dense model; two variables are the same if
they are the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol


class Variable(Protocol):
    """A size that may change."""

    @property
    def size(self) -> int: ...


class Monomial(tuple[Variable, ...]):
    """A product of variables. Equal in any order, but kept in the order in which it arose, which is the same in every
    process: addresses, by which one could sort, are not."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and sorted(map(id, self)) == sorted(map(id, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(tuple(sorted(map(id, self))))


ONE: Final = Monomial(())


@dataclass(frozen=True, eq=False)
class Poly:
    """A sum of monomials with non-zero coefficients."""

    terms: Mapping[Monomial, Fraction]

    @classmethod
    def number(cls, value: int | Fraction) -> Poly:
        return cls({ONE: Fraction(value)} if value else {})

    @classmethod
    def of(cls, variable: Variable) -> Poly:
        return cls({Monomial((variable,)): Fraction(1)})

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Each variable once, in order of appearance."""
        return tuple(dict.fromkeys(variable for monomial in self.terms for variable in monomial))

    @property
    def constant(self) -> Fraction:
        """The coefficient of the empty monomial."""
        return self.terms.get(ONE, Fraction(0))

    def __add__(self, other: Poly) -> Poly:
        terms = dict(self.terms)
        for monomial, factor in other.terms.items():
            total = terms.pop(monomial, Fraction(0)) + factor
            if total:
                terms[monomial] = total
        return Poly(terms)

    def __sub__(self, other: Poly) -> Poly:
        return self + other.times(Fraction(-1))

    def __mul__(self, other: Poly) -> Poly:
        result = Poly({})
        for left, factor in self.terms.items():
            result += Poly({Monomial((*left, *right)): factor * by for right, by in other.terms.items()})
        return result

    def times(self, factor: Fraction) -> Poly:
        return Poly({monomial: value * factor for monomial, value in self.terms.items()} if factor else {})

    def over(self, other: Poly) -> Poly | None:
        """The exact quotient by a single monomial; None where that is no polynomial."""
        if len(other.terms) != 1:
            return None
        ((divisor, by),) = other.terms.items()
        terms: dict[Monomial, Fraction] = {}
        for monomial, factor in self.terms.items():
            rest = list(monomial)
            for variable in divisor:
                if variable not in rest:
                    return None
                rest.remove(variable)
            terms[Monomial(rest)] = factor / by
        return Poly(terms)

    def reduced(self) -> Poly:
        """Without the variables that every monomial contains: sizes are not zero, so it vanishes where this does."""
        common = list(next(iter(self.terms), ()))
        for monomial in self.terms:
            common = [each for each in set(common) for _ in range(min(common.count(each), monomial.count(each)))]
        return self.over(Poly({Monomial(common): Fraction(1)})) or self

    def substitute(self, known: Mapping[Variable, Poly]) -> Poly:
        """Every known variable replaced, once."""
        if not any(variable in known for variable in self.variables):
            return self
        result = Poly({})
        for monomial, factor in self.terms.items():
            term = Poly.number(factor)
            for variable in monomial:
                term *= known.get(variable) or Poly.of(variable)
            result += term
        return result

    def linear_in(self, variable: Variable) -> tuple[Poly, Poly] | None:
        """(a, b) where self = a * variable + b and neither contains it; None where it stands in a higher power."""
        inside, rest = {}, {}
        for monomial, factor in self.terms.items():
            if monomial.count(variable) > 1:
                return None
            if variable in monomial:
                inside[Monomial(each for each in monomial if each is not variable)] = factor
            else:
                rest[monomial] = factor
        return Poly(inside), Poly(rest)

    def value(self, size: Callable[[Variable], int]) -> Fraction:
        """The number for given sizes."""
        total = Fraction(0)
        for monomial, factor in self.terms.items():
            for variable in monomial:
                factor *= size(variable)  # noqa: PLW2901 - the product so far
            total += factor
        return total
