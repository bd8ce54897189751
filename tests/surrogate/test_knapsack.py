import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from autoprune.surrogate.knapsack import Part, Sum, best_plans

BUCKETS = 1000


def problem(seed, count=5, joined=0.5):
    """Costs of single variables and of pairs, damage that falls with the level."""
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(2, 5, count)]
    pairs = [pair for pair in itertools.combinations(range(count), 2) if rng.random() < joined]
    costs = [Part((v,), np.sort(rng.random(size))) for v, size in enumerate(sizes)]
    costs += [Part(pair, rng.random([sizes[v] for v in pair])) for pair in pairs]
    loss_increases = [Part((v,), np.sort(rng.random(size))[::-1].copy()) for v, size in enumerate(sizes)]
    return sizes, costs, loss_increases


def total(parts, plans):
    """The sum of parts, one look-up after the other."""
    return np.array([sum(part.values[tuple(plan[v] for v in part.variables)] for part in parts) for plan in plans])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.7]))
def test_a_sum_is_that_of_its_parts(seed, joined):
    sizes, costs, _ = problem(seed, joined=joined)
    every = np.array(list(itertools.product(*map(range, sizes))))
    parts = [*costs, Part((), np.array(0.7))]
    assert np.abs(Sum(parts, len(sizes))(every) - total(parts, every)).max() < 1e-12
    assert (Sum([], len(sizes))(every) == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.7]))
def test_no_plan_within_a_cost_hurts_less(seed, joined):
    sizes, costs, loss_increases = problem(seed, joined=joined)
    every = np.array(list(itertools.product(*map(range, sizes))))
    cost, increase = total(costs, every), total(loss_increases, every)
    found = np.array(best_plans(sizes, costs, loss_increases, BUCKETS))
    found_cost, found_increase = total(costs, found), total(loss_increases, found)
    bucket = sum(float(np.ptp(part.values)) for part in costs) / BUCKETS
    rounding = len(costs) * bucket
    for most in np.linspace(cost.min() + rounding + 1e-9, cost.max(), 12):
        ours = found_increase[found_cost <= most].min()
        assert ours >= increase[cost <= most].min() - 1e-9
        assert ours <= increase[cost <= most - rounding].min() + 1e-5


def test_plans_come_by_cost_and_each_hurts_less_than_the_one_before():
    sizes, costs, loss_increases = problem(1)
    found = np.array(best_plans(sizes, costs, loss_increases, BUCKETS))
    assert (np.diff(total(loss_increases, found)) < 0).all()


def test_nothing_above_the_highest_cost_of_interest_is_proposed():
    sizes, costs, loss_increases = problem(2)
    most = total(costs, np.zeros((1, len(sizes)), int))[0] + 0.5
    assert (total(costs, np.array(best_plans(sizes, costs, loss_increases, BUCKETS, most=most))) <= most).all()
    assert best_plans(sizes, costs, loss_increases, BUCKETS, most=-1.0) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_large_space_is_solved_as_well_as_by_integer_programming(seed):
    rng, count, levels = np.random.default_rng(seed), 40, 8
    cost = rng.random((count, levels)).cumsum(axis=1)
    loss_increases = rng.random((count, levels))[:, ::-1].cumsum(axis=1)[:, ::-1]
    most = 0.5 * cost[:, -1].sum()
    parts = [[Part((v,), table[v].copy()) for v in range(count)] for table in (cost, loss_increases)]
    found = np.array(best_plans([levels] * count, *parts, buckets=4000))
    within = found[total(parts[0], found) <= most]
    ours = total(parts[1], within).min()
    one = LinearConstraint(np.kron(np.eye(count), np.ones(levels)), 1, 1)
    exact = milp(loss_increases.ravel(), constraints=[one, LinearConstraint(cost.ravel()[None], 0, most)],
                 integrality=np.ones(count * levels), bounds=Bounds(0, 1))  # fmt: skip
    assert exact.fun - 1e-6 <= ours <= exact.fun * 1.01


def test_a_graph_too_dense_for_one_table_still_gets_plans():
    rng, count = np.random.default_rng(0), 14
    costs = [Part(pair, rng.random((8, 8)).cumsum(0).cumsum(1)) for pair in itertools.combinations(range(count), 2)]
    loss_increases = [Part((v,), np.sort(rng.random(8))[::-1].copy()) for v in range(count)]
    found = np.array(best_plans([8] * count, costs, loss_increases, 200))
    assert len(found) > 5
    uniform = np.array([[level] * count for level in range(8)])
    for plan, most in zip(uniform, total(costs, uniform), strict=True):
        within = found[total(costs, found) <= 1.05 * most]
        assert total(loss_increases, within).min() <= 1.05 * total(loss_increases, plan[None])[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_where_there_is_room_for_the_least_cost_only_that_plan_is_found(seed, free):
    sizes, costs, loss_increases = problem(seed, joined=0.0)
    if free:  # levels that cost nothing: the least cost is none at all
        costs = [Part(part.variables, part.values - part.values.min()) for part in costs]
    least = sum(float(part.values.min()) for part in costs)
    assert best_plans(sizes, costs, loss_increases, BUCKETS, most=least) == [(0,) * len(sizes)]
