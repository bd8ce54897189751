import dataclasses

import numpy as np
import pytest

from autoprune.core.trial import Proposal
from autoprune.surrogate.belief import Belief
from autoprune.surrogate.evidence import Evidence, Seen
from autoprune.testing.sampler import OBJECTIVES, pretended, small_brief, small_space

SPACE = small_space()
BRIEF = small_brief(SPACE, most=0.6)


def seen(count, seed=0, latency=1.0):
    """Random plans as `pretended` answers them; latency: what costs are multiplied with."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        levels = tuple(int(level) for level in rng.integers(0, BRIEF.sizes))
        trial = pretended(Proposal(number, SPACE.at(levels)), 0.6)
        quality, cost = (trial.value(metric.name) for metric in OBJECTIVES)
        found.append(Seen(number, levels, (quality, latency * cost), None, trial.excesses))
    return tuple(found)


def believed(count, latency=1.0, forecast=None):
    return Belief(forecast or BRIEF.forecast, Evidence(BRIEF.aim, seen(count, latency=latency)), BRIEF.space)


def test_harm_is_predicted_the_better_the_more_was_seen():
    unseen = Evidence(BRIEF.aim, seen(60, seed=9))
    misses = [np.abs(believed(count).expected(unseen.levels).harm - unseen.harm).mean() for count in (0, 20, 80)]
    assert misses[0] > 2 * misses[1] > 2 * misses[2]


def test_a_cost_that_was_foretold_wrongly_is_put_right():
    cost = dataclasses.replace(BRIEF.forecast.costs[0], error=0.1)
    forecast = dataclasses.replace(BRIEF.forecast, costs=(cost,))
    plans = Evidence(BRIEF.aim, seen(30, seed=9)).levels
    right = believed(0).expected(plans).cost
    assert believed(20, 1.3, forecast).expected(plans).cost == pytest.approx(1.3 * right, rel=0.05)


def test_the_front_that_is_believed_keeps_to_the_budget():
    front = np.array(believed(30).front())
    cost = believed(30).expected(front).cost
    assert len(front) > 5
    assert cost.max() <= 0.6 * 1.06
    assert (np.diff(believed(30).expected(front).harm) < 0.05).all()


def test_a_limit_on_another_cost_leaves_the_room_of_the_one_that_binds():
    rows = tuple(
        dataclasses.replace(each, excesses={**each.excesses, "latency@pi": 0.4, "latency.p99@pi": 0.5})
        for each in seen(30)
    )
    assert max(each.excess for each in rows) >= 0.5
    assert Belief(BRIEF.forecast, Evidence(BRIEF.aim, rows), BRIEF.space).room == believed(30).room


def test_draws_differ_and_the_same_generator_draws_the_same():
    fronts = [believed(10).front(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert fronts[0] == fronts[1] != fronts[2]
