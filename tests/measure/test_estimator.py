import numpy as np
import pytest

from autoprune.core.measurement import Block
from autoprune.measure import estimator
from autoprune.measure.estimator import Interval, Pair


def pair(candidate, reference):
    return Pair(Block((candidate,) * 3, (candidate,) * 3), Block((reference,) * 3, (reference,) * 3))


def test_a_ratio_survives_a_machine_that_slows_down_threefold():
    rng = np.random.default_rng(0)
    slow = np.linspace(1, 3, 30)
    pairs = [pair(0.004 * s * np.exp(rng.normal(0, 0.01)), 0.01 * s) for s in slow]
    found = estimator.ratio([pairs], rng)
    assert found.value == pytest.approx(0.4, rel=0.01)
    assert found.low <= 0.4 <= found.high
    assert found.half_width < 0.02


def test_intervals_of_a_ratio_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(120):
        found = estimator.ratio([[pair(np.exp(rng.normal(0, 0.1)), 1.0) for _ in range(20)]], rng)
        held += found.low <= 1.0 <= found.high
    assert held / 120 > 0.88


def test_what_differs_between_processes_widens_the_interval():
    rng = np.random.default_rng(0)
    offsets = (0.9, 1.0, 1.1)
    rounds = [[pair(0.5 * offset, 1.0) for _ in range(20)] for offset in offsets]
    apart, pooled = estimator.ratio(rounds, rng), estimator.ratio([[p for r in rounds for p in r]], rng)
    assert apart.low == pytest.approx(0.45, rel=0.01)
    assert apart.high == pytest.approx(0.55, rel=0.01)
    assert apart.half_width >= pooled.half_width


def test_independent_errors_add_in_quadrature():
    found = estimator.chained(Interval(0.5, 0.5 / 1.3, 0.5 * 1.3), Interval(0.01, 0.01 / 1.4, 0.01 * 1.4))
    assert found.value == pytest.approx(0.005)
    assert found.high == pytest.approx(0.005 * np.exp(np.hypot(np.log(1.3), np.log(1.4))))
    assert found.low == pytest.approx(0.005 / np.exp(np.hypot(np.log(1.3), np.log(1.4))))


def test_quantiles_agree_with_numpy_and_lie_in_their_interval():
    rng = np.random.default_rng(0)
    blocks = [Block(tuple(rng.gamma(9, 1e-3, 20)), (1e-3,) * 20) for _ in range(12)]
    runs = np.concatenate([block.wall_s for block in blocks])
    shares = (0.5, 0.9, 0.99, 0.0, 1.0)
    for share, found in zip(shares, estimator.quantiles(blocks, shares, rng), strict=True):
        assert found.value == pytest.approx(np.quantile(runs, share))
        assert found.low <= found.value <= found.high
    (mean,) = estimator.quantiles(blocks, [None], rng)
    assert mean.value == pytest.approx(runs.mean())


def test_intervals_of_quantiles_are_those_of_a_bootstrap_of_whole_blocks():
    rng = np.random.default_rng(3)
    blocks = [Block(tuple(rng.gamma(9, 1e-3 * rng.uniform(0.8, 1.2), n)), (1e-3,) * n) for n in rng.integers(3, 40, 15)]
    drawn = {share: [] for share in (0.5, 0.9)}
    for _ in range(4000):
        resample = np.concatenate([blocks[k].wall_s for k in rng.integers(len(blocks), size=len(blocks))])
        for share, values in drawn.items():
            values.append(np.quantile(resample, share))
    found = estimator.quantiles(blocks, [*drawn], rng)
    for values, each in zip(drawn.values(), found, strict=True):
        low, high = np.percentile(values, (2.5, 97.5))
        assert each.low == pytest.approx(low, rel=0.03)
        assert each.high == pytest.approx(high, rel=0.03)


def test_the_interval_of_a_median_is_that_of_its_order_statistics():
    # Of nine independent values the median lies between the second and the eighth with 96.1 %.
    assert estimator.order_interval(np.arange(9.0)) == (1.0, 7.0)
    assert estimator.order_interval(np.arange(5.0)) == (0.0, 4.0)


def test_processor_time_ranks_only_where_the_wall_agrees():
    worked, passed = Interval(0.50, 0.49, 0.51), Interval(0.53, 0.52, 0.54)
    assert estimator.agreed(worked, passed) == Interval(0.50, 0.49, 0.54)
    assert estimator.agreed(worked, Interval(0.8, 0.79, 0.81)).value == 0.8
