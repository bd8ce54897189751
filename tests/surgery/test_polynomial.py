"""Polynomials against their values."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from autoprune.surgery.labels import Atom
from autoprune.surgery.polynomial import Poly

ATOMS = [Atom(2), Atom(3), Atom(5)]
TERMS = st.lists(st.tuples(st.integers(-4, 4), st.lists(st.sampled_from(ATOMS), max_size=2)), max_size=4)


def poly(terms):
    total = Poly({})
    for factor, atoms in terms:
        term = Poly.number(factor)
        for atom in atoms:
            term *= Poly.of(atom)
        total += term
    return total


def value(polynomial):
    return polynomial.value(lambda atom: atom.size)


@given(TERMS, TERMS)
def test_arithmetic_is_that_of_the_values(left, right):
    a, b = poly(left), poly(right)
    assert value(a + b) == value(a) + value(b)
    assert value(a - b) == value(a) - value(b)
    assert value(a * b) == value(a) * value(b)
    assert not (a - a).terms


@given(TERMS, st.integers(1, 4), st.lists(st.sampled_from(ATOMS), max_size=2))
def test_dividing_undoes_multiplying(terms, factor, atoms):
    a, b = poly(terms), poly([(factor, atoms)])
    assert value((a * b).over(b)) == value(a)


@given(TERMS)
def test_reducing_keeps_where_it_vanishes(terms):
    a = poly(terms)
    assert bool(value(a)) == bool(value(a.reduced()))


@given(TERMS, TERMS)
def test_substituting_is_putting_in_the_value(terms, inner):
    a, b = poly(terms), poly(inner)
    swapped = a.substitute({ATOMS[0]: b})
    assert swapped.value(lambda atom: atom.size) == a.value(lambda atom: value(b) if atom is ATOMS[0] else atom.size)


@given(TERMS)
def test_a_linear_variable_is_split_off(terms):
    a = poly(terms)
    parts = a.linear_in(ATOMS[0])
    if parts is not None:
        factor, rest = parts
        assert value(factor) * ATOMS[0].size + value(rest) == value(a)
        assert ATOMS[0] not in (*factor.variables, *rest.variables)


def test_no_quotient_is_none():
    assert Poly.of(ATOMS[0]).over(Poly.of(ATOMS[1])) is None
    assert Poly.of(ATOMS[0]).over(Poly.of(ATOMS[0]) + Poly.number(1)) is None
    assert Poly.of(ATOMS[0]).times(Fraction(0)).terms == {}
