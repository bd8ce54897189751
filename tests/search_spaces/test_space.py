from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.group import Group, Member, check_plan
from autoprune.core.plan import Plan
from autoprune.errors import SurgeryError, UsageError
from autoprune.search_spaces.space import SearchSpace
from autoprune.search_spaces.space_config import SpaceConfig

FAMILY = SpaceConfig(kinds=("channel",), step=8, floor=8, keep_ratios=(1.0, 0.75, 0.5, 0.25, 0.1))


@given(
    st.integers(1, 300), st.integers(1, 32), st.integers(1, 32), st.lists(st.floats(0.01, 1), min_size=1, max_size=9)
)
def test_levels_are_legal_for_any_size_step_floor_and_ratios(size, step, floor, keep_ratios):
    config = SpaceConfig(kinds=("channel",), step=step, floor=floor, keep_ratios=keep_ratios)
    try:
        space = SearchSpace.build([Group("g", "channel", size, ())], config)
    except SurgeryError:
        return
    counts = [count for (count,) in space.variables[0].levels]
    assert counts[-1] == size
    assert list(counts) == sorted(set(counts))
    assert all(count % step == 0 and count >= min(floor, size) for count in counts[:-1])


def test_levels_of_a_known_group():
    assert SearchSpace.build([Group("g", "channel", 64, ())], FAMILY).variables[0].levels == (
        (8,),
        (16,),
        (32,),
        (48,),
        (64,),
    )


def test_plans_and_level_indices_are_inverse():
    space = SearchSpace.build([Group("a", "channel", 32, ()), Group("b", "channel", 64, ())], FAMILY)
    for a in range(len(space.variables[0].levels)):
        for b in range(len(space.variables[1].levels)):
            assert space.indices(space.plan({"a": a, "b": b})) == {"a": a, "b": b}
    assert space.plan({"a": 0, "b": 0}) == space.smallest()
    assert space.dense().kept == {"a": 32, "b": 64}
    assert space.uniform(0.5).kept == {"a": 16, "b": 32}
    assert space.plans == len(space.variables[0].levels) * len(space.variables[1].levels)


def test_frozen_groups_closed_kinds_and_patterns_stay_out():
    groups = [
        Group("input", "channel", 64, (), frozen_reason="model input"),
        Group("head", "neuron", 64, ()),
        Group("stem", "channel", 64, ()),
        Group("body", "channel", 64, ()),
    ]
    config = SpaceConfig(kinds=("channel",), frozen=("^stem$",), step=8, floor=8, keep_ratios=(1.0, 0.5))
    assert [group.name for group in SearchSpace.build(groups, config).groups] == ["body"]


def test_nothing_to_prune_names_the_reason():
    with pytest.raises(SurgeryError, match=r"nothing to prune \(model output\)"):
        SearchSpace.build([Group("head", "neuron", 10, (), frozen_reason="model output")], FAMILY)


@pytest.mark.parametrize("kept", [{"g": -2}, {"g": -1}, {"g": 2.5}, {"g": True}])
def test_impossible_counts_are_refused(kept):
    with pytest.raises(UsageError):
        Plan.of(kept)


@pytest.mark.parametrize("kept", [{"g": 0}, {"g": 1}, {"g": 65}, {"other": 4}, {"fixed": 4}])
def test_plans_that_do_not_fit_the_groups_are_refused(kept):
    groups = [Group("g", "channel", 64, (), floor=2), Group("fixed", "channel", 8, (), frozen_reason="model input")]
    with pytest.raises(UsageError):
        check_plan(Plan.of(kept), groups)


def test_plans_are_equal_hash_alike_and_survive_json():
    plan = Plan.of({"b": 2, "a": 1})
    assert plan == Plan.of({"a": 1, "b": 2})
    assert hash(plan) == hash(Plan.of({"a": 1, "b": 2}))
    assert Plan.from_json(plan.kept) == plan


def test_groups_of_a_tie_are_one_variable_and_keep_their_proportion():
    groups = [
        Group("width", "channel", 48, (), step=3, floor=3, tie="width"),
        Group("head", "head_dim", 16, (), step=1, floor=1, tie="width"),
        Group("free", "channel", 32, ()),
    ]
    config = SpaceConfig(
        kinds=("channel", "head_dim"), step={"channel": 8, "head_dim": 4}, keep_ratios=(1.0, 0.75, 0.5, 0.25)
    )
    space = SearchSpace.build(groups, config)
    tied = next(variable for variable in space.variables if variable.name == "width")
    assert tied.levels == ((24, 8), (48, 16))
    for level in range(len(tied.levels)):
        check_plan(space.plan({"width": level, "free": 0}), groups)
    with pytest.raises(UsageError, match="in proportion"):
        check_plan(Plan.of({"width": 24}), groups)


def test_a_tie_to_a_group_that_stays_closes_the_others():
    groups = [Group("width", "channel", 32, (), tie="width"), Group("hidden", "neuron", 32, (), tie="width")]
    with pytest.raises(SurgeryError, match="nothing to prune"):
        SearchSpace.build(groups, FAMILY)


def test_search_space_ties_groups_by_their_names():
    groups = [Group(f"layers.{k}.mlp", "neuron", size, ()) for k, size in ((1, 64), (2, 32), (11, 64))]
    config = SpaceConfig(
        kinds=("neuron",), step=8, floor=8, keep_ratios=(1.0, 0.5), tied=(r"^(\w+ .*?\.)(\d*)\d(\..*)$",)
    )
    space = SearchSpace.build(groups, config)
    assert [[group.name for group in v.groups] for v in space.variables] == [
        ["layers.1.mlp", "layers.2.mlp"],
        ["layers.11.mlp"],
    ]
    assert space.variables[0].levels == ((32, 16), (64, 32))
    assert space.uniform(0.5).kept == {"layers.1.mlp": 32, "layers.2.mlp": 16, "layers.11.mlp": 32}


def test_layers_are_whole_or_gone_and_uniform_plans_keep_them():
    groups = [Group("block", "layer", 1, (), floor=0), Group("width", "channel", 16, ())]
    config = SpaceConfig(kinds=("layer", "channel"), step=4, floor=4, keep_ratios=(1.0, 0.5))
    space = SearchSpace.build(groups, config)
    assert space.variables[0].levels == ((0,), (1,))
    assert space.uniform(0.5).kept == {"block": 1, "width": 8}
    assert space.smallest().kept == {"block": 0, "width": 8}
    check_plan(space.smallest(), groups)


def test_a_count_between_steps_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="multiple of 4 slices of 'g'; received 10; keep 8"):
        check_plan(Plan.of({"g": 10}), [Group("g", "channel", 16, (), step=4, floor=4)])


def test_what_lies_in_a_dropped_layer_is_not_cut_as_well():
    def group(name, kind, *tensors):
        return Group(name, kind, 1 if kind == "layer" else 32, tuple(map(Member, tensors)), floor=0)

    groups = [
        group("stem", "channel", "stem.weight", "block.fc1.weight"),
        group("inner", "channel", "block.fc1.weight", "block.fc2.weight"),
        group("block", "layer", "block.fc1.weight", "block.fc2.weight", "block.norm.weight"),
        group("block.norm", "layer", "block.norm.weight"),
    ]
    space = SearchSpace.build(groups, replace(FAMILY, kinds=("channel", "layer")))
    stem, inner, block, norm = (len(variable.levels) - 1 for variable in space.variables)
    assert space.settled((1, 1, 0, 0)) == (1, inner, 0, norm)
    assert space.settled((1, 1, block, 0)) == (1, 1, block, 0)
    assert space.settled((stem, inner, block, norm)) == (stem, inner, block, norm)
    assert space.at((1, 1, 0, 0)) == space.at((1, 0, 0, norm)) != space.at((0, 1, 0, 0))
    assert space.places(space.at((1, 1, 0, 0))) == (1, inner, 0, norm)
