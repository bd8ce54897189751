import dataclasses

import moocore
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.surrogate.acquisition import added, best_seen, box, expected, ranked
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate
from tests.surrogate.seen import CONTEXT, believed, seen

points = st.lists(st.tuples(st.floats(0, 1.5), st.floats(-0.5, 1.5)), min_size=1, max_size=8)


def volume(cost, worth):
    array = np.column_stack([cost, worth])
    inside = array[(array < 1).all(axis=1)]
    return moocore.hypervolume(inside, ref=[1.0, 1.0]) if len(inside) else 0.0


@settings(max_examples=60, deadline=None)
@given(points, st.tuples(st.floats(0, 1.5), st.floats(-0.5, 1.5)))
def test_what_a_point_adds_is_the_difference_of_volumes(found, point):
    array = np.array(found)
    more = np.vstack([array, point])
    expected = volume(more[:, 0], more[:, 1]) - volume(array[:, 0], array[:, 1])
    gain = added(np.array([point[0]]), np.array([point[1]]), array[:, 0], array[:, 1])
    assert abs(gain[0] - expected) < 1e-9


@settings(max_examples=60, deadline=None)
@given(points)
def test_what_each_point_adds_to_those_before_it_makes_up_the_volume(found):
    cost, worth = np.array(found).T
    before = np.tri(len(found), k=-1, dtype=bool)
    assert abs(added(cost, worth, cost, worth, before).sum() - volume(cost, worth)) < 1e-9


def test_what_a_plan_is_expected_to_add_is_the_mean_over_what_may_be():
    """Against draws of cost and loss increase, each plan added to all that was seen."""
    surrogate = believed(25)
    plans = Observations(CONTEXT.goal, seen(40, seed=9)).levels
    found = dataclasses.replace(surrogate.expected(plans), cost_doubt=np.full(len(plans), 0.15))
    observations, rng = surrogate.observations, np.random.default_rng(0)
    known = [observations.cost[observations.feasible], surrogate.worth_seen()[observations.feasible]]
    draws = []
    for _ in range(4000):
        cost = found.cost * np.exp(found.cost_doubt * rng.normal(size=len(plans)))
        worth = surrogate.worth(found.loss_increase + found.loss_increase_doubt * rng.normal(size=len(plans)))
        draws.append(added(cost, worth, *known, end=box(surrogate)))
    mean = np.mean(draws, axis=0) * found.within
    assert mean.max() > 0.005
    assert np.abs(expected(surrogate, found) - mean).max() < 0.1 * mean.max()


def test_less_certain_plan_is_expected_to_add_more():
    surrogate = believed(25)
    place = int(best_seen(surrogate)[-1])
    found = surrogate.expected(surrogate.observations.levels[[place, place]])
    found = dataclasses.replace(found, cost=found.cost * 1.02, cost_doubt=np.array([0.01, 0.2]))
    sure, open_ = expected(surrogate, found)
    assert open_ > 1.1 * sure


def test_feasible_plans_come_first_even_if_far_worse():
    dense = CONTEXT.goal.dense[0]
    hurt = tuple(
        dataclasses.replace(each, values=(dense - 30 * (dense - each.values[0]), each.values[1])) for each in seen(40)
    )
    surrogate = Surrogate(CONTEXT.forecast, Observations(CONTEXT.goal, hurt), CONTEXT.space)
    assert surrogate.observations.quality_drop[surrogate.observations.feasible].min() > 1
    first = ranked(surrogate, surrogate.front())[:3]
    assert (surrogate.expected(np.array(first)).within > 0.5).all()
    assert (expected(surrogate, surrogate.expected(np.array(first))) > 0).all()
