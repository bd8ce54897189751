from autoprune.cost_model.sampled_models import evenly, scattered
from autoprune.testing.sampler import block_space


def test_whole_models_are_spread_over_their_sizes():
    assert evenly([50, 10, 90, 30, 70], 3) == [1, 0, 2]
    assert evenly([5, 5, 5], 9) == [0, 1, 2]


def test_small_plans_and_large_ones_occur_alike():
    space = block_space()
    plans = scattered(space, 64, seed=0)
    tops = [len(variable.levels) - 1 for variable in space.variables]
    assert {tuple(tops), (0,) * len(tops)} <= set(plans)
    assert len(plans) == len(set(plans))
    ratios = sorted(plan[0] / tops[0] for plan in plans)
    assert sum(ratio < 0.4 for ratio in ratios) > 15 < sum(ratio > 0.6 for ratio in ratios)
