"""What follows from the sizes that code gives."""

from autoprune.surgery.equations import LITERAL, Equation, polynomial, solve
from autoprune.surgery.labels import Atom, Prod, Sum
from autoprune.surgery.tracked_int import Attribute, Operation


def values(solution, **sizes):
    """What the attributes must hold for other sizes of atoms."""
    changed = {atom: size for atom, size in sizes.pop("atoms", {}).items()}
    return {str(a): poly.value(lambda atom: changed.get(atom, atom.size)) for a, poly in solution.attributes.items()}


def test_an_attribute_takes_the_size_of_what_it_is_given_for():
    heads, dims = Atom(4), Atom(8)
    number = Attribute("attn", ("num_heads",), 4)
    solution = solve([Equation(heads, number)])
    assert values(solution, atoms={heads: 3, dims: 2}) == {"attn.num_heads": 3}
    assert not solution.ties


def test_a_derived_size_is_solved_for_the_attribute():
    part, rest = Atom(6), Atom(10)
    dim, cut = Attribute("m", ("dim",), 16), Attribute("m", ("pdim",), 6)
    solution = solve([Equation(part, cut), Equation(rest, Operation("-", dim, cut, 10))])
    assert values(solution, atoms={part: 2, rest: 3}) == {"m.dim": 5, "m.pdim": 2}


def test_a_width_that_is_divided_by_heads_follows_the_dimension():
    width, heads, dims = Atom(32), Atom(4), Atom(8)
    number = Attribute("attn", ("num_heads",), 4)
    solution = solve([Equation(heads, number), Equation(dims, Operation("//", width, number, 8))])
    assert heads.reason
    assert not width.reason
    assert not dims.reason
    (tie,) = solution.ties
    assert tie == {width: 4, dims: 1}


def test_equal_pieces_keep_their_proportion_and_nothing_more():
    pieces = [Atom(12), Atom(12), Atom(12)]
    solution = solve([Equation(piece, pieces[0]) for piece in pieces[1:]])
    assert solution.ties == [dict.fromkeys(pieces, 1)]


def test_products_with_a_common_factor_tie_the_others():
    heads, query, value = Atom(4), Atom(8), Atom(8)
    solution = solve([Equation(Prod((heads, query)), Prod((heads, value)))])
    assert not heads.reason
    assert solution.ties == [{query: 1, value: 1}]


def test_a_number_in_the_code_freezes_and_a_true_identity_does_not():
    fixed, free = Atom(8), Atom(12)
    solve([Equation(fixed, 8), Equation(Sum((fixed, free)), Sum((free, fixed)))])
    assert fixed.reason == LITERAL
    assert not free.reason


def test_sizes_without_a_common_divisor_cannot_shrink_together():
    left, right = Atom(8), Atom(9)
    solve([Equation(Operation("*", left, 9, 72), Operation("*", right, 8, 72))])
    assert left.reason
    assert right.reason


def test_comparisons_only_define_what_nothing_else_does():
    width, other = Atom(16), Atom(16)
    checked = Attribute("m", ("embed_dim",), 16)
    solution = solve([Equation(width, checked, weak=True), Equation(width, other, weak=True)])
    assert values(solution, atoms={width: 5}) == {"m.embed_dim": 5}
    assert not solution.ties


def test_a_product_of_two_unknowns_is_solved_by_what_defines_them():
    heads, dims = Atom(4), Atom(8)
    count, size = Attribute("m", ("heads",), 4), Attribute("m", ("dim",), 8)
    equations = [Equation(Prod((heads, dims)), Operation("*", count, size, 32)), Equation(heads, count)]
    solution = solve([*equations, Equation(dims, size)])
    assert values(solution, atoms={heads: 2, dims: 3}) == {"m.heads": 2, "m.dim": 3}


def test_an_operator_that_wants_multiples_makes_steps():
    width = Atom(24)
    solution = solve([], [(width, 4)])
    assert solution.ties == [{width: 4}]


def test_the_size_of_a_label_is_its_polynomial():
    a, b, fixed = Atom(3), Atom(5), Atom(2, "input")
    assert polynomial(Sum((Prod((a, b)), fixed))).value(lambda atom: atom.size) == 17
