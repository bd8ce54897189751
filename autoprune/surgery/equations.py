"""Sizes that the code holds together, solved once. Knows equations between labels and integers; not where they arose.

Each number that the code gave for a size is an equation: the size of a label equals an expression. Attributes of
modules are the unknowns. Solving them says, for each attribute, which polynomial of group sizes it must hold in the
cut model; what is left are equations between group sizes alone. Those become ties (all sizes of a tie shrink in the
same proportion) or, where no proportion can keep them, freeze the groups with the reason. So whatever the groups that
stay open allow is exactly what a cut model has.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from autoprune.surgery.labels import Atom, Label, Prod, freeze, resolve
from autoprune.surgery.layout import Formula, Part
from autoprune.surgery.polynomial import Poly, Variable
from autoprune.surgery.tracked_int import Attribute, Expression, Operation, size_of

LITERAL = "the code gives its size as a number, or ties it to one that stays"
TIED = "the code ties its size to others in a way that no proportion keeps"
PRODUCT = "the code derives another size from its product with one that can be cut"
LONE = "the code ties it to sizes that share no divisor"


@dataclass(frozen=True)
class Equation:
    """`label` has the size `expression`; weak ones (comparisons) only define what nothing else does; `site` is where
    the code says so, as people read it."""

    label: Expression
    expression: Expression
    weak: bool = False
    site: str = ""


@dataclass(frozen=True)
class Constraint:
    """A polynomial that vanishes, and the site of the equation that said so last."""

    poly: Poly
    site: str

    def reason(self, plain: str) -> str:
        return f"{plain} ({self.site})" if self.site else plain


@dataclass(frozen=True, eq=False)
class Quotient:
    """The unknown result of a whole-number division."""

    size: int


@dataclass
class Solution:
    """attributes: what each must hold; ties: atoms whose sizes keep their proportion, each with its unit."""

    attributes: dict[Attribute, Poly] = field(default_factory=dict)
    ties: list[dict[Atom, int]] = field(default_factory=list)


def solve(equations: Iterable[Equation], multiples: Iterable[tuple[Label, int]] = ()) -> Solution:
    """Freezes atoms until the rest can be satisfied by attributes and ties.

    multiples: labels whose size must be a multiple of a number.
    """
    equations, multiples = list(equations), list(multiples)
    while True:
        solver = _Solver()
        solver.run(equations)
        ties = _ties(solver, multiples)
        if ties is not None:
            return Solution(solver.attributes(), ties)


def polynomial(label: Label) -> Poly:
    """The size of a label; frozen atoms are numbers."""
    label = resolve(label)
    if isinstance(label, Atom):
        return Poly.number(label.size) if label.reason else Poly.of(label)
    if isinstance(label, Prod):
        product = Poly.number(1)
        for factor in label.factors:
            product *= polynomial(factor)
        return product
    total = Poly({})
    for term in label.terms:
        total += polynomial(term)
    return total


class _Solver:
    """Elimination of unknowns, one at a time; what cannot be eliminated keeps its dense value."""

    def __init__(self) -> None:
        self.known: dict[Variable, Poly] = {}
        self.constraints: list[Constraint] = []
        self._queue: deque[Constraint] = deque()
        self._waiting: dict[Variable, list[Constraint]] = defaultdict(list)
        self._site = ""
        self.spoiled: dict[Atom, Constraint] = {}

    def run(self, equations: Iterable[Equation]) -> None:
        equations = list(equations)
        for weak in (False, True):
            for equation in equations:
                if equation.weak is weak:
                    self._site = equation.site
                    difference = self.expression(equation.label) - self.expression(equation.expression)
                    if not weak or self._unknown(difference.substitute(self.known)):
                        self._queue.append(Constraint(difference, equation.site))
            self._eliminate()
        while stuck := next((variable for variable, waiting in self._waiting.items() if waiting), None):
            if stuck not in self.known:
                self._define(stuck, Poly.number(stuck.size))
            else:
                self._queue.extend(self._waiting.pop(stuck))
            self._eliminate()
        for atom, constraint in self.spoiled.items():
            freeze(atom, constraint.reason(TIED))

    def expression(self, expression: Expression) -> Poly:
        """An expression as a polynomial of atoms and unknowns."""
        if isinstance(expression, int | Attribute):
            return Poly.of(expression) if isinstance(expression, Attribute) else Poly.number(int(expression))
        if not isinstance(expression, Operation):
            return polynomial(expression)
        left, right = self.expression(expression.left), self.expression(expression.right)
        if expression.operator == "//":
            return self._quotient(expression, left, right)
        if expression.operator == "*":
            return left * right
        return left + right if expression.operator == "+" else left - right

    def _quotient(self, expression: Operation, left: Poly, right: Poly) -> Poly:
        divisor = size_of(expression.right)
        if not divisor or expression.size * divisor != size_of(expression.left):
            for each in (*left.variables, *right.variables):
                if isinstance(each, Atom):
                    self.spoiled.setdefault(each, Constraint(left, self._site))
            return Poly.number(expression.size)
        exact = left.over(right)
        if exact is None:
            quotient = Quotient(expression.size)
            exact = Poly.of(quotient)
            self._queue.append(Constraint(exact * right - left, self._site))
        return exact

    def _eliminate(self) -> None:
        while self._queue:
            constraint = self._queue.popleft()
            poly = constraint.poly.substitute(self.known)
            if not poly.terms:
                continue
            unknown = self._unknown(poly)
            if not unknown:
                self.constraints.append(Constraint(poly.reduced(), constraint.site))
                continue
            value = _solved(poly, unknown[0]) if len(unknown) == 1 else None
            if value is None:
                for variable in unknown:
                    self._waiting[variable].append(Constraint(poly, constraint.site))
            else:
                self._define(unknown[0], value)

    def _unknown(self, poly: Poly) -> list[Variable]:
        return [variable for variable in poly.variables if not isinstance(variable, Atom)]

    def _define(self, variable: Variable, value: Poly) -> None:
        self.known[variable] = value
        self._queue.extend(self._waiting.pop(variable, ()))

    def attributes(self) -> dict[Attribute, Poly]:
        """Those that differ from their dense value once something is cut."""
        return {
            variable: value
            for variable, value in self.known.items()
            if isinstance(variable, Attribute) and value.variables
        }


def _solved(poly: Poly, variable: Variable) -> Poly | None:
    """What the variable must be for the polynomial to vanish."""
    parts = poly.linear_in(variable)
    if parts is None:
        return None
    factor, rest = parts
    return rest.times(Fraction(-1)).over(factor)


def _ties(solver: _Solver, multiples: Iterable[tuple[Label, int]]) -> list[dict[Atom, int]] | None:
    """The ties that satisfy all constraints; None where atoms had to be frozen, and everything looks different now."""
    ranks: dict[Variable, int] = {}
    frozen = [_linearise(constraint, ranks) for constraint in solver.constraints]
    if solver.spoiled or any(frozen):
        return None
    classes = _Classes()
    for constraint in solver.constraints:
        classes.join([each for each in constraint.poly.variables if isinstance(each, Atom)])
    for value in solver.attributes().values():
        for monomial, factor in value.terms.items():
            if factor.denominator > 1:
                classes.divide(monomial, factor.denominator)
    for label, divisor in multiples:
        for monomial in filter(None, polynomial(label).terms):
            classes.divide(monomial, divisor)
    found = list(classes.found())
    alone = [atom for members, unit in found if unit == 1 for atom in members]
    for atom in alone:
        freeze(atom, LONE)
    return None if alone else [{atom: atom.size // unit for atom in members} for members, unit in found]


def _linearise(constraint: Constraint, ranks: dict[Variable, int]) -> bool:
    """Freeze what keeps a constraint from being a proportion; whether anything had to be.

    Of a product all but the largest factor stay whole: the width heads x dimension follows the dimension. ranks: of
    factors of one size that which comes last here, the same one in all constraints; added to.
    """
    poly = constraint.poly
    live = [each for each in poly.variables if isinstance(each, Atom)]
    if not live:
        return False
    if poly.constant:
        reason = LITERAL if len(poly.terms) == 2 else TIED
        for atom in live:
            freeze(atom, constraint.reason(reason))
        return True
    products = [monomial for monomial in poly.terms if len(monomial) > 1]
    for monomial in products:
        for variable in monomial:
            ranks.setdefault(variable, len(ranks))
        if any(isinstance(each, Atom) and each.reason for each in monomial):
            continue  # another constraint has just decided it
        kept = max(monomial, key=lambda variable: (variable.size, ranks[variable]))
        for variable in set(monomial) - {kept} or {kept}:
            if isinstance(variable, Atom):
                freeze(variable, constraint.reason(PRODUCT))
    return bool(products)


class _Classes:
    """Atoms joined into classes, each with the number of steps that its sizes can be cut in."""

    def __init__(self) -> None:
        self._of: dict[Atom, list[Atom]] = {}
        self._divisors: list[tuple[Atom, int]] = []

    def join(self, members: list[Atom]) -> None:
        merged = list(dict.fromkeys(atom for member in members for atom in self._of.get(member, [member])))
        for atom in merged:
            self._of[atom] = merged

    def divide(self, monomial: Iterable[Variable], divisor: int) -> None:
        """Let the largest factor be a multiple of the divisor."""
        largest = max((each for each in monomial if isinstance(each, Atom)), key=lambda atom: atom.size)
        self.join([largest])
        self._divisors.append((largest, divisor))

    def found(self) -> Iterable[tuple[list[Atom], int]]:
        for members in {id(members): members for members in self._of.values()}.values():
            unit = math.gcd(*(atom.size for atom in members))
            for atom, divisor in self._divisors:
                if atom in members:
                    unit = math.gcd(unit, atom.size // math.gcd(atom.size, divisor))
            yield members, unit


def formula(poly: Poly, names: Mapping[Atom, str]) -> Formula:
    """A polynomial by the names of groups; atoms without a name keep their size."""
    terms: dict[tuple[Part, ...], Fraction] = defaultdict(Fraction)
    for monomial, factor in poly.terms.items():
        parts: list[Part] = []
        for atom in monomial:
            if isinstance(atom, Atom) and atom in names:
                parts.append(Part(names[atom], atom.size))
            else:
                factor *= atom.size  # noqa: PLW2901 - the product so far
        terms[tuple(parts)] += factor
    return Formula(tuple((factor, parts) for parts, factor in terms.items()))
