import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.group import Group, check_plan
from autoprune.core.scope import SCOPES, scoped
from autoprune.errors import UsageError


@st.composite
def ranked(draw):
    groups, scores = [], {}
    for place in range(draw(st.integers(1, 4))):
        step = draw(st.sampled_from([1, 2, 4]))
        size = step * draw(st.integers(1, 8))
        floor = step * draw(st.integers(1, size // step))
        groups.append(Group(f"g{place}", "channel", size, (), step=step, floor=floor))
        scores[f"g{place}"] = draw(st.lists(st.floats(0, 10), min_size=size, max_size=size))
    return groups, scores


@given(ranked(), st.sampled_from(SCOPES), st.floats(0.01, 1))
def test_every_scope_gives_a_plan_that_the_groups_obey(case, scope, keep):
    groups, scores = case
    plan = scoped(groups, scores, scope, keep, shapes={group.name: (group.size,) for group in groups})
    check_plan(plan, groups)
    assert set(plan.kept) == {group.name for group in groups}


def test_each_scope_in_numbers():
    groups = [Group("a", "channel", 4, ()), Group("b", "channel", 4, ())]
    scores = {"a": [1.0, 2.0, 3.0, 4.0], "b": [10.0, 20.0, 30.0, 40.0]}
    assert scoped(groups, scores, "layer", 0.5).kept == {"a": 2, "b": 2}
    assert scoped(groups, scores, "global", 0.5).kept == {"a": 1, "b": 4}  # a keeps its floor
    assert scoped(groups, scores, "threshold", 3.0).kept == {"a": 2, "b": 4}
    assert scoped(groups, scores, "percentile", 25).kept == {"a": 2, "b": 4}
    assert scoped(groups, scores, "relative", 0.6).kept == {"a": 2, "b": 2}


@given(
    st.dictionaries(st.text("abc"), st.lists(st.integers(1, 40), min_size=2, max_size=4), min_size=1),
    st.floats(0.01, 1),
)
def test_erdos_renyi_keeps_the_share_of_all_weights_and_more_of_small_tensors(shapes, keep):
    groups = [Group(name, "weight", math.prod(shape), (), pattern="unstructured") for name, shape in shapes.items()]
    kept = scoped(groups, {}, "erdos-renyi", keep, shapes=shapes).kept
    whole = sum(group.size for group in groups)
    assert sum(kept.values()) == pytest.approx(keep * whole, abs=len(groups))
    partly = [name for name, shape in shapes.items() if kept[name] < math.prod(shape)]
    for name in partly:  # a neuron has as many inputs on average, however wide its layer is (equation 1)
        least = sum(shapes[name]) / sum(shapes[partly[0]]) * kept[partly[0]]
        assert kept[name] == pytest.approx(least, abs=1 + sum(shapes[name]) / sum(shapes[partly[0]]))


def test_erdos_renyi_is_for_single_weights():
    for group in (Group("a", "channel", 4, ()), Group("a", "weight", 2, (), pattern="2:4")):
        shapes = {"a": (4, 4)} if group.kind == "weight" else {}
        with pytest.raises(UsageError, match="pattern='unstructured'"):
            scoped([group], {}, "erdos-renyi", 0.5, shapes=shapes)


def test_groups_of_one_tie_keep_equally_many_steps():
    groups = [Group("a", "head", 4, (), tie="a"), Group("b", "neuron", 8, (), step=2, floor=2, tie="a")]
    scores = {"a": [1.0, 1.0, 1.0, 9.0], "b": [9.0] * 6 + [1.0] * 2}
    plan = scoped(groups, scores, "threshold", 5.0)
    check_plan(plan, groups)
    assert plan.kept == {"a": 3, "b": 6}


@pytest.mark.parametrize(
    ("scope", "keep"),
    [
        ("layer", 0.0),
        ("erdos-renyi", 1.2),
        ("layer", 1.5),
        ("global", True),
        ("percentile", 100),
        ("threshold", float("nan")),
        ("relative", 2),
    ],
)
def test_values_that_a_scope_does_not_take_are_refused(scope, keep):
    with pytest.raises(UsageError):
        scoped([], {}, scope, keep)


def test_an_unknown_scope_names_the_known_ones():
    with pytest.raises(UsageError, match="layer, global, threshold, percentile"):
        scoped([], {}, "locally", 0.5)
