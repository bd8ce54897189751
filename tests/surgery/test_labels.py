"""The algebra of labels against brute force: a label is a list of the identities that its positions have."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.surgery.labels import ONE, Atom, Prod, Sum, atoms, cut, freeze, resolve, split, unify


@st.composite
def labels(draw, size):
    """Any label of the given size."""
    shapes = ["atom"]
    divisors = [d for d in range(2, size) if size % d == 0]
    if divisors:
        shapes.append("prod")
    if size > 1:
        shapes.append("sum")
    shape = draw(st.sampled_from(shapes))
    if shape == "atom":
        return Atom(size)
    if shape == "prod":
        inner = draw(st.sampled_from(divisors))
        return Prod((draw(labels(size // inner)), draw(labels(inner))))
    at = draw(st.integers(1, size - 1))
    return Sum((draw(labels(at)), draw(labels(size - at))))


def frozen_reason(label):
    """Why a label is wholly frozen; empty if any atom in it may be cut."""
    reasons = [atom.reason for atom in atoms(label)]
    return reasons[0] if reasons and all(reasons) else ""


def positions(label):
    """One tuple a position: which index of which atom it is made of."""
    label = resolve(label)
    if isinstance(label, Atom):
        return [((id(label), index),) for index in range(label.size)]
    if isinstance(label, Sum):
        return [each for term in label.terms for each in positions(term)]
    result = [()]
    for factor in label.factors:
        result = [left + right for left in result for right in positions(factor)]
    return result


SIZES = st.integers(1, 36)


@given(SIZES.flatmap(labels))
def test_a_label_has_as_many_positions_as_its_size(label):
    assert label.size == resolve(label).size == len(positions(label))


@given(
    SIZES.flatmap(
        lambda size: st.tuples(labels(size), st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
    )
)
def test_split_keeps_the_positions_and_gives_the_sizes(case):
    label, inner = case
    outer, rest = split(label, inner)
    assert (outer.size, rest.size) == (label.size // inner, inner)
    assert live(Prod((outer, rest))) == live(label)


@given(SIZES.flatmap(lambda size: st.tuples(labels(size), st.integers(0, size))))
def test_cut_keeps_the_positions_and_gives_the_sizes(case):
    label, at = case
    left, right = cut(label, at)
    assert (left.size, right.size) == (at, label.size - at)
    assert positions(left) + positions(right) == positions(label)


@settings(max_examples=400)
@given(SIZES.flatmap(lambda size: st.tuples(labels(size), labels(size))))
def test_unified_labels_are_the_same_or_frozen(case):
    """Positions that can still be cut must agree; two labels that do not nest may only be frozen."""
    left, right = case
    unify(left, right)
    assert live(left) == live(right)


def live(label):
    frozen = {id(atom) for atom in atoms(label) if atom.reason}
    return [tuple(part for part in place if part[0] not in frozen) for place in positions(label)]


@given(SIZES.flatmap(lambda size: st.tuples(labels(size), labels(size), labels(size))))
def test_unifying_is_transitive(case):
    first, second, third = case
    unify(first, second)
    unify(second, third)
    assert live(first) == live(third)


def test_frozen_infects_whatever_it_meets():
    channels, fixed = Atom(12), Atom(12, "model output")
    unify(Prod((Atom(3), Atom(4))), channels)
    unify(channels, fixed)
    assert frozen_reason(channels) == "model output"
    assert all(atom.reason for atom in atoms(channels))


def test_unequal_sizes_freeze_both():
    left, right = Atom(3), Atom(4)
    unify(left, right)
    assert frozen_reason(left)
    assert frozen_reason(right)


def test_flattened_channels_meet_a_linear_layer():
    channels, spatial, features = Atom(8), Atom(4, "spatial"), Atom(32)
    unify(Prod((channels, spatial)), features)
    assert [atom.size for atom in atoms(features)] == [8, 4]
    assert next(atoms(features)) is channels


def test_freeze_keeps_the_first_reason():
    atom = Atom(4)
    freeze(atom, "first")
    freeze(atom, "second")
    assert atom.reason == "first"


def test_ones_vanish():
    assert resolve(Prod((Atom(1), ONE))) == ONE
    assert math.prod(atom.size for atom in atoms(Prod((Atom(1), Atom(5))))) == 5
