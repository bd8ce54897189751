"""What a tensor's dimension is made of. Knows sizes and equalities; no tensors, operators or modules.

The label of a dimension is a tree: an `Atom` is a run of indices that nothing has told apart yet, a `Prod` is a
row-major product (the first factor varies slowest), a `Sum` a concatenation. Labels that must agree are unified by
refinement: an atom is bound to what it turned out to be, so that every label that mentions it is refined at once.
Each step replaces a label by strictly smaller ones, therefore unification ends without an occurs-check.
A frozen atom carries the reason why it must stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


class Atom:
    """A run of `size` indices; `target` is what it was refined to, `reason` why it may not be cut."""

    __slots__ = ("reason", "size", "target")

    def __init__(self, size: int, reason: str = "") -> None:
        self.size = size
        self.reason = reason
        self.target: Label | None = None


@dataclass(frozen=True)
class Prod:
    """A row-major product of factors; the empty one is a dimension of size 1."""

    factors: tuple[Label, ...]

    @property
    def size(self) -> int:
        return math.prod(factor.size for factor in self.factors)


@dataclass(frozen=True)
class Sum:
    """A concatenation of terms."""

    terms: tuple[Label, ...]

    @property
    def size(self) -> int:
        return sum(term.size for term in self.terms)


Label = Atom | Prod | Sum
ONE = Prod(())


def resolve(label: Label) -> Label:
    """The label with all refinements put in, nested products and sums flattened, and factors of size 1 dropped."""
    if isinstance(label, Atom):
        end = _followed(label)
        if isinstance(end, Atom):
            return ONE if end.size == 1 else end
        return resolve(end)
    if isinstance(label, Prod):
        factors: list[Label] = []
        for factor in map(resolve, label.factors):
            factors.extend(factor.factors if isinstance(factor, Prod) else (factor,))
        return factors[0] if len(factors) == 1 else Prod(tuple(factors))
    terms: list[Label] = []
    for term in map(resolve, label.terms):
        terms.extend(term.terms if isinstance(term, Sum) else (term,))
    terms = [term for term in terms if term.size]
    return terms[0] if len(terms) == 1 else Sum(tuple(terms))


def _followed(atom: Atom) -> Label:
    """What the atom was refined to in the end; the way there is shortened for the next time, as streams are long."""
    passed: list[Atom] = []
    end: Label = atom
    while isinstance(end, Atom) and end.target is not None:
        passed.append(end)
        end = end.target
    for each in passed:
        each.target = end
    return end


def atoms(label: Label) -> Iterator[Atom]:
    """Every atom in a label, left to right, refinements put in; an atom may come more than once."""
    label = resolve(label)
    if isinstance(label, Atom):
        yield label
    else:
        for part in label.factors if isinstance(label, Prod) else label.terms:
            yield from atoms(part)


def freeze(label: Label, reason: str) -> None:
    """Keep every atom in the label whole. The first reason stands."""
    for atom in atoms(label):
        atom.reason = atom.reason or reason


def split(label: Label, inner: int) -> tuple[Label, Label]:
    """The label as outer x inner, where the inner part has size `inner`, which divides the label's size."""
    label = resolve(label)
    if inner == 1:
        return label, ONE
    if inner == label.size:
        return ONE, label
    if isinstance(label, Atom):
        outer, rest = Atom(label.size // inner, label.reason), Atom(inner, label.reason)
        if not label.reason:  # of what stays whole nobody asks for the parts
            label.target = Prod((outer, rest))
        return outer, rest
    if isinstance(label, Prod):
        return _split_prod(label, inner)
    return _split_sum(label, inner)


def _split_prod(label: Prod, inner: int) -> tuple[Label, Label]:
    head, size = list(label.factors), 1
    taken: list[Label] = []
    while size < inner:
        factor = head.pop()
        need = inner // size if inner % size == 0 else 0
        if factor.size <= need and need % factor.size == 0:
            taken.insert(0, factor)
            size *= factor.size
        elif need and factor.size % need == 0:
            left, right = split(factor, need)
            head.append(left)
            taken.insert(0, right)
            size = inner
        else:
            return _give_up(label, inner)
    return Prod(tuple(head)), Prod(tuple(taken))


def _split_sum(label: Sum, inner: int) -> tuple[Label, Label]:
    if all(term.size % inner == 0 for term in label.terms):
        outers, inners = zip(*(split(term, inner) for term in label.terms), strict=True)
        for other in inners[1:]:
            unify(inners[0], other)
        return Sum(outers), inners[0]
    rest: Label = label
    first, rest = cut(rest, inner)
    while rest.size:
        row, rest = cut(rest, inner)
        unify(first, row)
    return Atom(label.size // inner, "rows of unlike parts"), first


def _give_up(label: Label, inner: int) -> tuple[Label, Label]:
    reason = "split into sizes that do not nest"
    freeze(label, reason)
    return Atom(label.size // inner, reason), Atom(inner, reason)


def cut(label: Label, at: int) -> tuple[Label, Label]:
    """The label as a concatenation of its first `at` indices and the rest."""
    label = resolve(label)
    if at == 0:
        return Sum(()), label
    if at == label.size:
        return label, Sum(())
    if isinstance(label, Atom):
        left, right = Atom(at, label.reason), Atom(label.size - at, label.reason)
        if not label.reason:
            label.target = Sum((left, right))
        return left, right
    if isinstance(label, Prod):
        return _cut_prod(label, at)
    done: list[Label] = []
    for place, term in enumerate(label.terms):
        if at < term.size:
            head, tail = cut(term, at)
            return Sum((*done, head)), Sum((tail, *label.terms[place + 1 :]))
        done.append(term)
        at -= term.size
        if at == 0:
            break
    return Sum(tuple(done)), Sum(label.terms[len(done) :])


def _cut_prod(label: Prod, at: int) -> tuple[Label, Label]:
    first, rest = label.factors[0], Prod(label.factors[1:])
    rows, offset = divmod(at, rest.size)
    above, below = cut(first, rows)
    if offset == 0:
        return Prod((above, rest)), Prod((below, rest))
    row, below = cut(below, 1)
    freeze(row, "cut inside a row")
    left, right = cut(rest, offset)
    return Sum((Prod((above, rest)), left)), Sum((right, Prod((below, rest))))


def unify(left: Label, right: Label) -> None:
    """Make two labels of the same size the same; where their structures do not nest, both are frozen."""
    left, right = resolve(left), resolve(right)
    if left is right or left.size == right.size == 0:
        return
    if left.size != right.size:
        _freeze_both(left, right, f"sizes {left.size} and {right.size} are paired")
    elif isinstance(left, Atom):
        _bind(left, right)
    elif isinstance(right, Atom):
        _bind(right, left)
    elif isinstance(left, Prod) and isinstance(right, Prod):
        _unify_prods(left, right)
    else:
        total, other = (left, right) if isinstance(left, Sum) else (right, left)
        assert isinstance(total, Sum)
        size = total.terms[0].size
        if isinstance(other, Sum):
            size = min(size, other.terms[0].size)
        (head, tail), (other_head, other_tail) = cut(total, size), cut(other, size)
        unify(head, other_head)
        unify(tail, other_tail)


def _bind(atom: Atom, other: Label) -> None:
    if atom.reason:
        freeze(other, atom.reason)
    elif isinstance(other, Atom) and other.reason:
        atom.reason = other.reason
    # An atom inside its own refinement can only be itself times ones, and `resolve` drops those.
    atom.target = other


def _unify_prods(left: Prod, right: Prod) -> None:
    if not left.factors:
        return
    last: Label = left.factors[-1]
    other: Label = right.factors[-1]
    if last.size < other.size:
        left, right, last, other = right, left, other, last
    if last.size % other.size:
        _freeze_both(left, right, "factors that do not nest are paired")
        return
    outer, inner = split(last, other.size)
    unify(inner, other)
    unify(Prod((*left.factors[:-1], outer)), Prod(right.factors[:-1]))


def _freeze_both(left: Label, right: Label, reason: str) -> None:
    freeze(left, reason)
    freeze(right, reason)
