import numpy as np
import pytest

from autoprune.core.forecast import CostForecast, Term
from autoprune.surrogate.cost_estimate import CostEstimate

SIZES = (8, 8, 8)
SHARES = (np.arange(8) + 1) / 24


def forecast(error=0.0, offset=0.0):
    return CostForecast("latency", offset, tuple(Term((v,), (8,), tuple(SHARES)) for v in range(3)), error)


def plans(count, seed=0):
    return np.random.default_rng(seed).integers(0, 8, (count, 3))


def kept(levels):
    return SHARES[levels].sum(axis=1)


def cost_estimate(real, count=40, error=0.0, offset=0.0, room=0.5):
    seen = plans(count)
    return CostEstimate("latency", forecast(error, offset), SIZES, seen, real(seen), room)


def test_what_was_counted_is_believed_exactly():
    value, doubt = cost_estimate(kept).expected(plans(50, 1))
    assert value == pytest.approx(kept(plans(50, 1)), rel=1e-3)
    assert doubt.max() < 0.001


def test_approximated_count_is_doubted_as_it_is_wrong():
    def real(levels):  # a layer that joins the first two groups, behind the third
        return SHARES[levels[:, :2]].sum(axis=1) * SHARES[levels[:, 2]] * 4.5

    value, doubt = cost_estimate(real).expected(plans(300, 1))
    misses = np.abs(np.log(value / real(plans(300, 1)))) / doubt
    assert np.mean(misses < 1.96) > 0.9


def test_unforeseen_fixed_cost_is_put_right_everywhere():
    def real(levels):
        return 0.3 + 0.7 * kept(levels)

    found = cost_estimate(real, error=0.1)
    assert found.quick(plans(50, 1)) == pytest.approx(real(plans(50, 1)), rel=0.12)


def test_the_reach_of_a_cost_is_where_the_quick_cost_meets_it():
    found = cost_estimate(lambda levels: 0.3 + 0.7 * kept(levels), error=0.1)
    for cost in (0.4, 0.6, 0.8):
        inside = kept(plans(200, 2)) <= found.reach(cost)
        assert (inside == (found.quick(plans(200, 2)) <= cost)).all()
    assert found.reach(np.inf) == np.inf


def test_a_forecast_that_falls_below_zero_leaves_the_others_as_they_are():
    seen = np.vstack([plans(11), [[0, 0, 0]]])
    found = CostEstimate("latency", forecast(0.1, -0.13), SIZES, seen, kept(seen), 0.5)
    large = np.array([[6, 7, 6], [5, 5, 7]])
    assert found.quick(large) == pytest.approx(kept(large), rel=0.25)
