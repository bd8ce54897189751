import dataclasses

import numpy as np
import pytest

from autoprune.core.forecast import CostForecast, Forecast, Term
from autoprune.core.goal import CostLimit, SearchGoal
from autoprune.core.metric import COSTS, Metric
from autoprune.surrogate.observations import Observation, Observations
from autoprune.surrogate.surrogate import Surrogate
from tests.surrogate.seen import CONTEXT, SPACE, believed, seen


def test_loss_increase_is_predicted_better_the_more_was_seen():
    unseen = Observations(CONTEXT.goal, seen(60, seed=9))
    misses = [
        np.abs(believed(count).expected(unseen.levels).loss_increase - unseen.loss_increase).mean()
        for count in (0, 20, 80)
    ]
    assert misses[0] > 2 * misses[1] > 2 * misses[2]


def test_observations_tell_how_far_loss_strays_from_a_sum():
    """Where it follows the sum closely, plans are believed to within less, and yet most of them turn out so."""
    rng, plans, unseen = np.random.default_rng(0), seen(60), Observations(CONTEXT.goal, seen(60, seed=9))
    dense = CONTEXT.goal.dense[0]
    strayed = tuple(
        dataclasses.replace(each, values=(dense - (dense - each.values[0]) * rng.lognormal(0, 0.3), each.values[1]))
        for each in plans
    )
    sure, unsure = (
        Surrogate(CONTEXT.forecast, Observations(CONTEXT.goal, rows), CONTEXT.space).expected(unseen.levels)
        for rows in (plans, strayed)
    )
    assert np.median(unsure.loss_increase_doubt / sure.loss_increase_doubt) > 1.5
    assert (np.abs(sure.loss_increase - unseen.loss_increase) < 2 * sure.loss_increase_doubt).mean() > 0.9


def test_a_cost_that_was_foretold_wrongly_is_put_right():
    cost = dataclasses.replace(CONTEXT.forecast.costs[0], error=0.1)
    forecast = dataclasses.replace(CONTEXT.forecast, costs=(cost,))
    plans = Observations(CONTEXT.goal, seen(30, seed=9)).levels
    right = believed(0).expected(plans).cost
    assert believed(20, 1.3, forecast).expected(plans).cost == pytest.approx(1.3 * right, rel=0.05)


def test_the_front_that_is_believed_keeps_to_the_budget():
    front = np.array(believed(30).front())
    cost = believed(30).expected(front).cost
    assert len(front) > 5
    assert cost.max() <= 0.6 * 1.06
    assert (np.diff(believed(30).expected(front).loss_increase) < 0.05).all()


def test_a_limit_on_another_cost_leaves_the_room_of_the_one_that_binds():
    rows = tuple(
        dataclasses.replace(each, excesses={**each.excesses, "latency@pi": 0.4, "latency.p99@pi": 0.5})
        for each in seen(30)
    )
    assert max(each.excess for each in rows) >= 0.5
    assert (
        Surrogate(CONTEXT.forecast, Observations(CONTEXT.goal, rows), CONTEXT.space).cost_estimate.room
        == believed(30).cost_estimate.room
    )


def test_the_wider_intervals_are_the_less_room_a_limit_leaves():
    """Limits are held against the upper ends, here 1.8 times the values, also before anything near the limit was seen."""
    bound = 0.6 * CONTEXT.goal.dense[1]
    rows = tuple(dataclasses.replace(each, excesses={"params": 1.8 * each.values[1] / bound - 1}) for each in seen(30))
    whole = dataclasses.replace(rows[0], levels=(7,) * 5, values=CONTEXT.goal.dense, excesses={"params": 1.8 / 0.6 - 1})
    for observations in (rows, (whole,)):
        room = Surrogate(CONTEXT.forecast, Observations(CONTEXT.goal, observations), SPACE).cost_estimate.room
        assert room == pytest.approx(0.6 / 1.8)


def test_draws_differ_and_the_same_generator_draws_the_same():
    fronts = [believed(10).front(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert fronts[0] == fronts[1] != fronts[2]


def test_groups_harmless_only_alone_are_learned_from_trials():
    flat = dataclasses.replace(
        CONTEXT.forecast, loss_increases=tuple((0.0,) * size for size in CONTEXT.sizes), noise=0.0
    )
    unseen = Observations(CONTEXT.goal, seen(60, seed=9))
    found = Surrogate(flat, Observations(CONTEXT.goal, seen(60)), CONTEXT.space).expected(unseen.levels)
    assert np.corrcoef(found.loss_increase, unseen.loss_increase)[0, 1] > 0.9


def test_every_limited_cost_bounds_the_front():
    """Two costs that live in opposite groups: the front of either alone breaks the other's limit."""
    quality, sizes, ratios = Metric("quality", "1", lower_is_better=False, high=1.0), (8,) * 5, (np.arange(8) + 1) / 8
    weights = {"params": np.array([1, 1, 2, 8, 32.0]), "flops": np.array([32, 8, 2, 1, 1.0])}
    costs = tuple(
        CostForecast(name, 0.0, tuple(Term((v,), (8,), tuple(w * ratios)) for v, w in enumerate(row)))
        for name, row in weights.items()
    )
    loss_increases = tuple(tuple(0.5 * (1 - ratios) ** 2) for _ in sizes)
    goal = SearchGoal((quality, COSTS["params"]), (0.9, 44.0), (None, 22.0), others=(CostLimit(COSTS["flops"], 0.5),))
    surrogate = Surrogate(Forecast(costs, loss_increases, 1e-3, 1.0), Observations(goal, ()), SPACE)
    plans = np.array(surrogate.front(beyond=1.0))
    shares = {name: (row * ratios[plans]).sum(axis=1) / 44 for name, row in weights.items()}
    both = (shares["params"] <= 0.5) & (shares["flops"] <= 0.5)
    assert (surrogate.pressure(plans, 0.5) <= 0.5 + 1e-9).tolist() == both.tolist()
    every = np.stack(np.meshgrid(*[np.arange(8)] * 5), axis=-1).reshape(-1, 5)
    best = surrogate.expected(every[surrogate.pressure(every, 0.5) <= 0.5 + 1e-9]).loss_increase.min()
    assert surrogate.expected(plans[both]).loss_increase.min() < 1.15 * best
    assert surrogate.expected(plans).within[both].mean() > 3 * surrogate.expected(plans).within[~both].mean()


def test_unbounded_quality_is_learned_far_beyond_the_box():
    """Perplexity is multiplied by what each cut does: ten times the dense one says which plans are worse still."""
    perplexity, rng = Metric("perplexity", "1", lower_is_better=True), np.random.default_rng(0)
    goal = dataclasses.replace(
        CONTEXT.goal, objectives=(perplexity, COSTS["params"]), dense=(10.0, CONTEXT.goal.dense[1])
    )

    def scored(count):
        levels = rng.integers(0, 8, (count, 5))
        values = 10 * np.exp((((7 - levels) / 7) ** 2 * np.arange(1, 6) / 2).sum(axis=1))
        rows = (
            Observation(k, tuple(map(int, plan)), (float(value), 1.0), None, {})
            for k, (plan, value) in enumerate(zip(levels, values, strict=True))
        )
        return Observations(goal, tuple(rows))

    unseen = scored(60)
    assert np.median(unseen.quality_drop) > 4
    found = Surrogate(CONTEXT.forecast, scored(60), SPACE).expected(unseen.levels)
    assert np.corrcoef(found.loss_increase, unseen.loss_increase)[0, 1] > 0.9
