import dataclasses

import moocore
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.surrogate.acquisition import added, best_seen, box, expected, ranked
from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Evidence
from tests.surrogate.test_belief import BRIEF, believed, seen

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
    """Against draws of cost and harm, each plan added to all that was seen."""
    belief = believed(25)
    plans = Evidence(BRIEF.aim, seen(40, seed=9)).levels
    found = dataclasses.replace(belief.expected(plans), cost_doubt=np.full(len(plans), 0.15))
    evidence, rng = belief.evidence, np.random.default_rng(0)
    known = [evidence.cost[evidence.feasible], belief.worth_seen()[evidence.feasible]]
    draws = []
    for _ in range(4000):
        cost = found.cost * np.exp(found.cost_doubt * rng.normal(size=len(plans)))
        worth = belief.worth(found.harm + found.harm_doubt * rng.normal(size=len(plans)))
        draws.append(added(cost, worth, *known, end=box(belief)))
    mean = np.mean(draws, axis=0) * found.within
    assert mean.max() > 0.005
    assert np.abs(expected(belief, found) - mean).max() < 0.1 * mean.max()


def test_of_two_plans_that_seem_to_add_nothing_the_less_certain_one_is_expected_to_add_more():
    belief = believed(25)
    place = int(best_seen(belief)[-1])
    found = belief.expected(belief.evidence.levels[[place, place]])
    found = dataclasses.replace(found, cost=found.cost * 1.02, cost_doubt=np.array([0.01, 0.2]))
    sure, open_ = expected(belief, found)
    assert open_ > 1.1 * sure


def test_where_all_within_the_budget_is_far_worse_than_dense_what_is_within_still_comes_first():
    dense = BRIEF.aim.dense[0]
    hurt = tuple(
        dataclasses.replace(each, values=(dense - 30 * (dense - each.values[0]), each.values[1])) for each in seen(40)
    )
    belief = Belief(BRIEF.forecast, Evidence(BRIEF.aim, hurt), BRIEF.space)
    assert belief.evidence.loss[belief.evidence.feasible].min() > 1
    first = ranked(belief, belief.front())[:3]
    assert (belief.expected(np.array(first)).within > 0.5).all()
    assert (expected(belief, belief.expected(np.array(first))) > 0).all()
