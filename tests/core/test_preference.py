import pytest

from autoprune.core.metric import COSTS, Metric
from autoprune.core.preference import Preference
from autoprune.errors import UsageError

ACCURACY, LATENCY = Metric("accuracy", "1", lower_is_better=False, high=1.0), COSTS["latency"]
DENSE = {"accuracy": 0.9, "latency": 0.010, "throughput": 100.0, "perplexity": 20.0}
#: (accuracy, latency): in the box (quality below dense by a fifth of the range, share of the dense latency) they are
#: (0, .8), (.05, .5), (.1, .25), (.5, .2), (.9, .1), and one that is beaten by all but the last.
FRONT = [(0.90, 0.008), (0.89, 0.005), (0.88, 0.0025), (0.80, 0.002), (0.72, 0.001), (0.70, 0.009)]


def best(text, values=FRONT, objectives=(ACCURACY, LATENCY)):
    return Preference(text).best(values, objectives, DENSE)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 0),
        ("accuracy:1,latency:1", 2),  # the worse of .1 and .25
        ("accuracy:10,latency:1", 1),  # .5 and .5, against 1 and .25, or 0 and .8
        ("accuracy:100,latency", 0),
        ("accuracy,latency:10", 4),  # .9 and 1, against .5 and 2
        ("knee", 2),
    ],
)
def test_the_best_is_the_one_that_is_preferred(text, place):
    assert best(text) == place


def test_weights_do_not_depend_on_what_else_was_found_and_the_knee_is_of_the_front():
    assert best("accuracy:10,latency:1", [FRONT[0], FRONT[1]]) == 1
    assert best("knee", FRONT[3:5]) == 0  # of two no one is a knee: the first objective says


def test_weights_count_among_models_that_beat_the_dense_one():
    better = [(0.95, 0.006), (0.93, 0.005), (0.901, 0.0045)]
    assert best("accuracy:100,latency:1", better) == 0
    assert best("accuracy:1,latency:100", better) == 2


def test_models_in_a_dent_of_the_front_are_found():
    dent = [(0.90, 0.009), (0.80, 0.006), (0.72, 0.001)]  # (0, .9), (.5, .6), (.9, .1): the second lies above the line
    assert best("accuracy:1.1,latency:1", dent) == 1
    assert best("knee", dent) == 0


def test_throughput_counts_as_the_time_that_it_stands_for_and_a_quality_without_an_end_by_its_size():
    perplexity = Metric("perplexity", "1", lower_is_better=True)
    values = [(20.0, 110.0), (21.0, 200.0), (28.0, 1000.0)]  # (0, .91), (.25, .5), (2, .1)
    assert best("perplexity,throughput", values, (perplexity, COSTS["throughput"])) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy:0,latency:1", "positive number as the weight of 'accuracy'"),
        ("accuracy:-2,latency:1", "positive number"), ("accuracy:much,latency", "positive number"),
        ("accuracy:2,accuracy:1", "each once"), ("accuracy:2,,", "objectives by name"), (3, "objectives by name"),
    ],
)  # fmt: skip
def test_weights_that_are_none_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        Preference(text)


def test_weights_are_of_what_is_traded_off_and_of_all_of_it():
    for text in ("accuracy:2", "accuracy:2,latency:1,params:1", "speed"):
        with pytest.raises(UsageError, match=r"a weight for each of accuracy, latency.*accuracy:1,latency:1, or knee"):
            Preference(text).check(["accuracy", "latency"])
    Preference("knee").check(["accuracy", "latency"])
    Preference("latency,accuracy:2").check(["accuracy", "latency"])
