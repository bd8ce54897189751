import math

import pytest

from autoprune.core.budget import Budget
from autoprune.core.goal import in_box
from autoprune.core.group import Group
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.trial import Trial, TrialState
from autoprune.engine.prepare import prepare
from autoprune.errors import UsageError
from autoprune.recovery.calibrate import calibrate
from autoprune.search_spaces.space import SearchSpace
from autoprune.search_spaces.space_config import SpaceConfig
from autoprune.searching.ablation import ablate, scattered
from autoprune.searching.candidate import Evaluator
from autoprune.searching.forecasting import assembled, goal_of
from autoprune.testing.fakes import RecordingReporter, TickingClock

ALARMS = Metric("false_alarms", "1", lower_is_better=True, high=1.0)


def dense(**values):
    return {name: Measurement.exact(name, value, "1") for name, value in values.items()}


def test_limit_on_a_quality_of_zero_is_none_on_a_cost():
    goal = goal_of(
        Budget.parse("false_alarms<=0.05"), (ALARMS, COSTS["params"]), dense(false_alarms=0.0, params=10.0), ""
    )
    assert goal.limits == (None, None)
    assert goal.cost_limits == ()


def test_every_limited_cost_is_a_wall_be_it_an_objective_or_not():
    budget = Budget.parse("params=50%", "throughput>=20/s")
    goal = goal_of(budget, (ALARMS, COSTS["params"]), dense(false_alarms=0.1, params=10.0, throughput=10.0), "")
    assert goal.limits == (None, 5.0)
    assert {wall.metric.name: wall.most for wall in goal.cost_limits} == {"params": 0.5, "throughput": 0.5}


def test_throughput_lies_in_the_box_by_its_inverse():
    assert in_box(COSTS["throughput"], 40.0, 10.0) == pytest.approx(0.25)
    assert in_box(COSTS["throughput"], 10.0, 10.0) == 1.0


def test_ablations_count_by_what_is_cut_not_by_level():
    family = SpaceConfig(kinds=("channel",), keep_ratios=(0.1, 0.2, 0.5, 1.0))
    space = SearchSpace.build([Group("g", "channel", 100, ())], family)
    found = {"accuracy": Measurement.exact("accuracy", 0.5, "1"), "params": Measurement.exact("params", 1.0, "1")}
    trial = Trial(0, space.at((0,)), TrialState.COMPLETE, found)
    quality = Metric("accuracy", "1", lower_is_better=False, high=1.0)
    goal = goal_of(Budget(()), (quality, COSTS["params"]), dense(accuracy=0.9, params=10.0), "")
    (row,) = assembled(space, goal, {0: trial}, (), {}, 1.0).loss_increases
    assert row == pytest.approx([2.0, 2.0 * (8 / 9) ** 2, 2.0 * (5 / 9) ** 2, 0.0])


def test_a_cost_that_the_dense_model_does_not_have_cannot_be_saved():
    for budget, objectives in (("flops=1M", (ALARMS, COSTS["params"])), ("params=50%", (ALARMS, COSTS["flops"]))):
        with pytest.raises(UsageError, match="flops of 0"):
            goal_of(Budget.parse(budget), objectives, dense(false_alarms=0.1, params=10.0, flops=0.0), "")


def test_uncut_groups_are_judged_by_lost_importance():
    family = SpaceConfig(kinds=("channel", "layer"), keep_ratios=(0.5, 1.0))
    groups = [Group(name, "channel", 10, ()) for name in "abc"]
    space = SearchSpace.build(groups, family)
    quality = Metric("accuracy", "1", lower_is_better=False, high=1.0)
    goal = goal_of(Budget(()), (quality, COSTS["params"]), dense(accuracy=0.9, params=10.0), "")
    found = {"accuracy": Measurement.exact("accuracy", 0.8, "1"), "params": Measurement.exact("params", 1.0, "1")}
    trials = {
        0: Trial(0, space.at((0, 1, 1)), TrialState.COMPLETE, found),
        2: Trial(2, space.at((1, 1, 0)), TrialState.FAILED),
    }
    rows = assembled(space, goal, trials, (), {}, 1.0, {0: 0.1, 1: 0.05, 2: 0.9}).loss_increases
    assert [row[0] for row in rows] == pytest.approx([0.5, 0.25, 0.5])


def test_the_first_ablations_lie_all_over_the_model():
    for count in (1, 2, 7, 61):
        order = scattered(count)
        assert sorted(order) == list(range(count))
    assert scattered(61)[:4] == [0, 32, 16, 48]


def test_ablations_end_when_their_time_is_up(small_task):
    clock = TickingClock(1.0)
    prepared = prepare(small_task, None)

    class Now:
        def drive(self, jobs, work):
            for job in jobs:
                yield Trial(job.number, job.plan, TrialState.COMPLETE)

    calibrated = calibrate(small_task.model, prepared.traced, "l2", "none", clock, small_task)
    evaluator = Evaluator(
        task=small_task,
        traced=prepared.traced,
        ranking=calibrated.ranking,
        device=None,
        budget=Budget(()),
        dense={},
        clock=clock,
        repair=calibrated.repair,
        timed=False,
    )
    made = ablate(prepared.space, evaluator, Now(), RecordingReporter(), limit_s=1.5)
    assert len(made) == 1
    assert len(ablate(prepared.space, evaluator, Now(), RecordingReporter(), math.inf)) == len(prepared.space.variables)
