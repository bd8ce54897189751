import pytest

from autoprune.core.budget import Budget
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import BudgetInfeasibleError, StorageError, UsageError
from autoprune.report.chosen import chosen_again
from autoprune.report.document import document

QUALITY = Metric("accuracy", "1", lower_is_better=False, high=1.0)
LOSS = Metric("loss", "1", lower_is_better=True)


def measured(accuracy, seconds):
    return {
        "accuracy": Measurement("accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.01, 300, split="validation"),
        "loss": Measurement("loss", 1 - accuracy, "1", 0.0, 1.0, 300, split="validation"),
        "latency": Measurement("latency", seconds, "s", seconds * 0.9, seconds * 1.1, 40),
        "latency.relative": Measurement("latency.relative", seconds / 0.01, "1", seconds / 0.0101, seconds / 0.0099),
    }


def made(*values, budget="latency=90%"):
    trials = [
        Trial(k, Plan.of({"g": k + 1}), TrialState.COMPLETE, measured(*each), {"latency": each[1] - 0.009})
        for k, each in enumerate(values)
    ]
    objectives = (QUALITY, COSTS["latency"])
    return document(
        run="runs/x", task="t", seed=0, seconds=1.0, devices={"": {"name": "torch"}}, budget=Budget.parse(budget),
        objectives=["accuracy", "latency"], trials=trials, dense=measured(0.97, 0.01), front=Front.of(trials, objectives),
        partial=False, qualities=(QUALITY, LOSS), test={"dense": {}, "best": {}},
    )  # fmt: skip


FRONT = made((0.97, 0.0095), (0.96, 0.005), (0.95, 0.0025), (0.80, 0.002))


def best(*within, prefer="", front=FRONT):
    return chosen_again(front, within, prefer)["best"]


def test_a_limit_takes_the_place_of_the_runs_own_and_others_stay():
    assert FRONT["best"] == 1
    assert best() == 1
    assert best("latency=4ms") == 2
    assert best("latency=11ms") == 0  # beyond the budget of the run
    assert best("loss<=0.1") == 1
    assert best("loss<=0.1", "latency=30%") == 2


def test_a_cost_is_held_against_a_limit_by_the_worse_end_of_its_interval():
    again = chosen_again(FRONT, ["latency=2.6ms"])  # 2.5 ms at the median, 2.75 at worst
    assert again["best"] == 3
    assert [point["feasible"] for point in again["front"]] == [True, False, False, False]
    assert [point["uncertain"] for point in again["front"]] == [False, True, False, False]


def test_the_best_is_chosen_again_by_weights_or_the_knee():
    assert best(prefer="knee") == 2
    assert best("latency=11ms", prefer="accuracy:100,latency:1") == 0
    assert best("latency=4ms", prefer="accuracy,latency:10") == 3


def test_the_document_says_what_was_asked_and_keeps_test_scores_of_the_best_alone():
    again = chosen_again(FRONT, ["latency=4ms"], "knee")
    assert (again["budget"], again["prefer"]) == (["latency<=4ms"], "knee")
    assert again["test"] == {"dense": {}}
    assert "best" in chosen_again(FRONT, ["latency=6ms"])["test"]


def test_where_nothing_is_within_the_best_possible_is_told():
    with pytest.raises(BudgetInfeasibleError, match=r"best possible latency 2 ms"):
        best("latency=1ms")


def test_what_was_not_measured_cannot_be_limited():
    with pytest.raises(UsageError, match=r"this front was measured for: accuracy, latency.*energy"):
        best("energy=50%")


def test_a_front_that_does_not_tell_which_way_is_better_is_refused():
    old = {key: value for key, value in FRONT.items() if key not in ("qualities", "prefer")}
    with pytest.raises(StorageError, match="earlier version"):
        best("latency=4ms", front=old)
