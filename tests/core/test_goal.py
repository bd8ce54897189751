import pytest

from autoprune.core.goal import SearchGoal
from autoprune.core.metric import COSTS, Metric, cost

ACCURACY = Metric("accuracy", "1", lower_is_better=False, high=1.0)
PI, SERVER = cost("latency@pi"), cost("latency@server")


@pytest.mark.parametrize(
    ("objectives", "dense", "limits", "binds"),
    [
        ((ACCURACY, PI, SERVER), (0.9, 0.040, 0.004), (None, 0.020, 0.001), "latency@server"),
        ((ACCURACY, PI, SERVER), (0.9, 0.040, 0.004), (None, 0.004, 0.002), "latency@pi"),
        ((ACCURACY, PI, SERVER), (0.9, 0.040, 0.004), (None, None, None), "latency@pi"),
        ((ACCURACY, COSTS["latency"], COSTS["params"]), (0.9, 0.04, 1e6), (None, None, 5e5), "params"),
        ((ACCURACY, PI, COSTS["throughput"]), (0.9, 0.04, 100.0), (None, 0.02, 300.0), "throughput"),
    ],
)
def test_the_cost_that_must_fall_furthest_binds(objectives, dense, limits, binds):
    goal = SearchGoal(objectives, dense, limits)
    assert goal.objectives[goal.cost].name == binds
    assert goal.quality == 0


def test_without_a_cost_nothing_binds():
    assert SearchGoal((ACCURACY,), (0.9,), (None,)).cost is None
