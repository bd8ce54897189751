import time

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.front import Front, dominates, hypervolume, layers, minimal
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState

QUALITY, COST = Metric("accuracy", "1", lower_is_better=False), Metric("latency", "s", lower_is_better=True)
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6), st.booleans()), max_size=25)


def made(points):
    return [
        Trial(
            number,
            Plan.of({"g": number + 1}),
            TrialState.COMPLETE,
            {"accuracy": Measurement.exact("accuracy", q, "1"), "latency": Measurement.exact("latency", c, "s")},
            {"latency": -1.0 if feasible else 1.0},
        )
        for number, (q, c, feasible) in enumerate(points)
    ]


@given(POINTS)
def test_the_front_is_what_an_independent_library_says(points):
    front = Front.of(made(points), (QUALITY, COST))
    got = sorted((-t.value("accuracy"), t.value("latency")) for t in front.trials)
    if not points:
        assert got == []
        return
    values = np.unique(np.array([(-q, c) for q, c, _ in points], dtype=float), axis=0)
    expected = sorted(map(tuple, values[moocore.is_nondominated(values)]))
    assert [point for point in got if point in expected] == expected


@given(POINTS)
def test_best_is_feasible_of_highest_quality_then_lowest_cost(points):
    best = Front.of(made(points), (QUALITY, COST)).best
    feasible = [(q, -c) for q, c, ok in points if ok]
    assert (best is None) == (not feasible)
    if best is not None:
        assert (best.value("accuracy"), -best.value("latency")) == max(feasible)


@given(POINTS)
def test_layers_take_every_distinct_point_once_in_order_of_dominance(points):
    found = layers(made(points), (QUALITY, COST))
    flat = [(-t.value("accuracy"), t.value("latency")) for layer in found for t in layer]
    assert sorted(flat) == sorted({(-float(q), float(c)) for q, c, _ in points})


def test_failed_trials_never_enter_a_front():
    failed = Trial(0, Plan.of({"g": 1}), TrialState.FAILED, error="nan")
    assert Front.of([failed, *made([(1, 1, True)])], (QUALITY, COST)).trials == tuple(made([(1, 1, True)]))


@given(
    st.integers(1, 4).flatmap(lambda d: st.lists(st.tuples(*[st.integers(0, 6)] * d), max_size=9).map(lambda p: (d, p)))
)
def test_the_volume_of_a_front_is_that_of_an_independent_library(case):
    dimensions, points = case
    reference = (5.0,) * dimensions
    inside = [tuple(map(float, p)) for p in points if all(x < 5 for x in p)]
    expected = moocore.hypervolume(np.array(inside), ref=np.array(reference)) if inside else 0.0
    assert hypervolume([tuple(map(float, p)) for p in points], reference) == pytest.approx(expected)


def test_the_front_of_ten_thousand_points_is_found_at_once():
    rng = np.random.default_rng(0)
    points = sorted({tuple(point) for point in rng.random((10_000, 2))})
    begin = time.perf_counter()
    front = minimal(points)
    assert time.perf_counter() - begin < 0.5
    assert front == [p for p in points if not any(dominates(q, p) for q in front)]


def test_of_throughputs_the_highest_is_the_cheapest():
    speed = Metric("throughput", "1/s", lower_is_better=False)
    trials = [
        Trial(
            number, Plan.of({"g": number + 1}), TrialState.COMPLETE,
            {"accuracy": Measurement.exact("accuracy", q, "1"), "throughput": Measurement.exact("throughput", v, "1/s")},
        )
        for number, (q, v) in enumerate([(0.9, 10.0), (0.8, 30.0), (0.85, 20.0)])
    ]  # fmt: skip
    assert [trial.number for trial in Front.of(trials, (QUALITY, speed)).trials] == [1, 2, 0]
