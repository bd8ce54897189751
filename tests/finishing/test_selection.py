import pytest

from autoprune.core.budget import Budget
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.trial import Trial, TrialState
from autoprune.finishing.selection import evenly, excess, standing, telling
from autoprune.testing.sampler import small_space

ACCURACY = Metric("accuracy", "1", lower_is_better=False, high=1.0)
LOSS = Metric("loss", "1", lower_is_better=True)
OBJECTIVES = (ACCURACY, COSTS["params"])


def trials(width):
    """Four plans; width: of the interval of each accuracy, which are two points apart."""
    space, found = small_space(), []
    for number in range(4):
        accuracy = 0.9 + 0.02 * number
        measured = {
            "accuracy": Measurement("accuracy", accuracy, "1", accuracy - width / 2, accuracy + width / 2),
            "loss": Measurement.exact("loss", 0.5 - 0.1 * number, "1"),
            "params": Measurement.exact("params", 100.0 * (number + 1), "1"),
        }
        found.append(Trial(number, space.uniform(number / 4), TrialState.COMPLETE, measured, {}))
    return found


def test_a_quality_that_tells_candidates_apart_chooses():
    assert telling(trials(0.01), OBJECTIVES, (ACCURACY, LOSS)) == OBJECTIVES


def test_the_loss_chooses_where_accuracies_overlap():
    assert telling(trials(0.05), OBJECTIVES, (ACCURACY, LOSS)) == (LOSS, COSTS["params"])


def test_a_task_without_a_loss_has_only_its_quality():
    assert telling(trials(0.05), OBJECTIVES, (ACCURACY,)) == OBJECTIVES


def three_objectives():
    """By ascending latency the best accuracy is in the middle, as what is fast has many parameters."""
    space = small_space()
    for number, (accuracy, latency, params) in enumerate(
        [(0.80, 1, 9), (0.82, 2, 8), (0.84, 3, 7), (0.99, 4, 9.5), (0.86, 5, 5), (0.85, 6, 4), (0.80, 7, 3)]
    ):
        values = {"accuracy": accuracy, "latency": latency, "params": params}
        measured = {name: Measurement.exact(name, value, "1") for name, value in values.items()}
        yield Trial(number, space.uniform(number / 9), TrialState.COMPLETE, measured, {"latency": latency - 0.5})


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize(("wanted", "number"), [(None, 3), (excess, 0)])
def test_best_or_nearest_is_always_a_finalist(count, wanted, number):
    chosen = evenly(list(three_objectives()), (ACCURACY, COSTS["latency"], COSTS["params"]), count, wanted)
    assert len(chosen) == count
    assert number in {trial.number for trial in chosen}


def test_where_a_floor_decides_the_cheapest_above_it_goes_on():
    floor = Budget.parse("accuracy>=-3%")
    dense = {"accuracy": Measurement.exact("accuracy", 0.97, "1")}
    by = lambda trial: standing(trial, trial.value("accuracy"), ACCURACY, COSTS["params"], floor, dense)  # noqa: E731
    assert [trial.number for trial in sorted(trials(0), key=by, reverse=True)] == [2, 3, 1, 0]
    traded = lambda trial: standing(trial, trial.value("accuracy"), ACCURACY, ACCURACY, floor, dense)  # noqa: E731
    assert [trial.number for trial in sorted(trials(0), key=traded, reverse=True)] == [3, 2, 1, 0]


def test_a_floor_under_another_quality_decides_too():
    floor = Budget.parse("loss<=0.25")
    dense = {"loss": Measurement.exact("loss", 0.1, "1")}
    by = lambda trial: standing(trial, trial.value("accuracy"), ACCURACY, COSTS["params"], floor, dense)  # noqa: E731
    assert [trial.number for trial in sorted(trials(0), key=by, reverse=True)] == [3, 2, 1, 0]
    floor = Budget.parse("loss<=0.45")
    assert [trial.number for trial in sorted(trials(0), key=by, reverse=True)] == [1, 2, 3, 0]
