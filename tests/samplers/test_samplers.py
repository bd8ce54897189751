import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from optuna.storages import InMemoryStorage

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.effort import Effort
from autoprune.core.forecast import CostForecast, Forecast, Term
from autoprune.core.goal import CostLimit, SearchGoal
from autoprune.core.metric import COSTS
from autoprune.errors import UsageError
from autoprune.samplers import PROPOSER, ModelAccess, SamplerContext, checked
from autoprune.samplers.uniform import van_der_corput
from autoprune.search_spaces import choose
from autoprune.search_spaces.space import SearchSpace
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.study import Study
from autoprune.store.ledger import Ledger
from autoprune.surgery import trace
from autoprune.surgery.example import Example
from autoprune.testing.sampler import OBJECTIVES, SamplerConformance, block_space, pretended, small_context, small_space

#: Samplers whose proposals take a second or so in long studies, or that learn as they go.
SLOW = ("gp", "ddpg", "differentiable")


@pytest.mark.parametrize("name", [name for name in registry.names("samplers") if name not in SLOW], scope="class")
class TestEverySampler(SamplerConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW, scope="class")
class TestSlowSamplers(SamplerConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


@pytest.mark.slow
def test_a_sampler_that_learns_repeats_itself_under_one_seed():
    suite = SamplerConformance()
    suite.name = "ddpg"
    assert suite.asked(25, seed=3) == suite.asked(25, seed=3)


@pytest.mark.parametrize(("name", "option"), [("evolution", "population"), ("annealing", "walk")])
def test_what_is_counted_is_a_whole_number(name, option):
    module = registry.load("samplers", name)
    with pytest.raises(UsageError, match=option):
        module.create(small_context(small_space(), options=checked(module, {option: "2.9"})))
    assert module.create(small_context(small_space(), options=checked(module, {option: "12"})))


@pytest.mark.parametrize("name", ["annealing", "auto", "dp", "evolution", "netadapt", "nsga2", "tpe"])
def test_droppable_blocks_make_no_model_twice(name):
    space, module = block_space(), registry.load("samplers", name)
    made = module.create(small_context(space, options=checked(module, {})))
    ledger = Ledger(InMemoryStorage())
    study = Study(ledger, "s", space, OBJECTIVES, made)
    coordinator = Coordinator(study, space, Budget(()), Effort(trials=60), SystemClock())
    for proposal in coordinator.proposals():
        coordinator.tell(pretended(proposal))
    plans = [trial.plan for trial in coordinator.trials]
    gone = [{name for name, kept in plan.keep if not kept} for plan in plans]
    seen = [
        tuple(kept for group, kept in p.keep if group.split(".")[0] not in g) for p, g in zip(plans, gone, strict=True)
    ]
    assert len(plans) == len(set(zip(map(frozenset, gone), seen, strict=True))) == 60
    arms = [trial.system_attrs.get(PROPOSER, "") for trial in ledger.storage.get_all_trials(0)]
    assert not any(arms[:6])  # dense, smallest and uniform plans are nobody's
    if name not in ("nsga2", "tpe"):
        assert sum(map(bool, arms[6:])) > 30, arms


def test_random_differs_from_seed_to_seed():
    suite = SamplerConformance()
    suite.name = "random"
    assert suite.asked(20, seed=1) != suite.asked(20, seed=2)


def test_uniform_proposes_uniform_plans_over_the_whole_range():
    suite = SamplerConformance()
    suite.name = "uniform"
    found = suite.asked(16, seed=0)
    assert all(len(set(params.values())) == 1 for params in found)
    assert {params["g0"] for params in found} >= {0, 2, 4, 6}
    assert [count for (count,) in small_space().variables[0].levels] == [8, 16, 24, 32, 40, 48, 56, 64]


def test_van_der_corput_fills_the_unit_interval_evenly():
    assert [van_der_corput(k) for k in range(1, 8)] == [0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]
    assert np.max(np.diff(sorted(van_der_corput(k) for k in range(1, 64)))) <= 1 / 32


@pytest.mark.parametrize("name", ["annealing", "auto", "ddpg", "dp", "evolution"])
def test_a_limit_on_a_cost_that_is_no_objective_is_kept_to(name):
    """Operations lie in other groups than parameters do."""
    space, module = small_space(), registry.load("samplers", name)
    weights = np.array([16, 4, 1, 1, 1.0])
    context = small_context(space, options=checked(module, {}))
    terms = tuple(Term((v,), (8,), tuple(w * (np.arange(8) + 1) / 8)) for v, w in enumerate(weights))
    forecast = replace(context.forecast, costs=(*context.forecast.costs, CostForecast("flops", 0.0, terms)))
    goal = replace(context.goal, others=(CostLimit(COSTS["flops"], 0.4),))
    study = Study(
        Ledger(InMemoryStorage()), "s", space, OBJECTIVES, module.create(replace(context, goal=goal, forecast=forecast))
    )
    coordinator = Coordinator(study, space, Budget(()), Effort(trials=40), SystemClock())
    for proposal in coordinator.proposals():
        levels = np.array(space.places(proposal.plan))
        flops = float((weights * (levels + 1) / 8).sum() / weights.sum())
        coordinator.tell(replace(pretended(proposal), excesses={"flops": flops / 0.4 - 1}))
    assert sum(trial.feasible for trial in coordinator.trials[6:]) > 25


def test_names_of_an_earlier_version_still_lead_to_what_they_meant():
    from autoprune import criteria, samplers

    with pytest.warns(DeprecationWarning, match="SamplerContext"):
        assert samplers.Brief is SamplerContext
    with pytest.warns(DeprecationWarning, match="GroupView"):
        assert criteria.Scored is criteria.GroupView
    context = small_context(small_space(), 0)
    with pytest.warns(DeprecationWarning, match="goal"):
        assert context.aim is context.goal
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = samplers.Nothing


def two_branches():
    """A model of two branches, of which the second one does next to nothing; its space, and what a sampler may see."""
    torch.manual_seed(0)
    model = Branches().eval()
    batches = [(torch.randn(16, 6), torch.randn(16, 3)) for _ in range(2)]
    traced = trace(model, Example.of(batches[0][0]))
    access = ModelAccess(
        model=lambda: copy.deepcopy(model),
        traced=traced,
        batches=lambda split: batches,
        loss=lambda found, batch: (found(batch[0]) - model(batch[0])).square().mean(),
        ranking={group.name: torch.rand(group.size) for group in traced.open},
    )
    return SearchSpace.build(traced.open, choose("default", ())), access


class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.much = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        self.little = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        with torch.no_grad():
            self.little[2].weight.mul_(1e-3)

    def forward(self, x):
        return self.much(x) + self.little(x)


def test_gates_close_where_the_model_loses_least_whatever_was_forecast():
    space, access = two_branches()
    rows = tuple(
        tuple((1e-3 if "much" in v.name else 1.0) * (1 - k / (len(v.levels) - 1)) for k in range(len(v.levels)))
        for v in space.variables
    )
    terms = tuple(
        Term((k,), (len(v.levels),), tuple(float(sum(level)) for level in v.levels))
        for k, v in enumerate(space.variables)
    )
    forecast = Forecast((CostForecast("params", 0.0, terms),), rows, 1e-3, 1.0)
    goal = SearchGoal(OBJECTIVES, (1.0, 32.0), (None, None))
    module = registry.load("samplers", "differentiable")
    for seen, wanted in ((access, "little"), (None, "much")):
        context = SamplerContext(space, 0, goal, forecast, checked(module, {"steps": "16"}), access=seen)
        way = module.create(context)._way(0)
        first = next(space.at(plan).kept for plan in way if space.at(plan) != space.dense())
        assert {name.partition(".")[0] for name, count in first.items() if count < 16} == {wanted}


def test_a_descent_visits_every_cost_down_to_the_smallest_plan():
    space, module = small_space(), registry.load("samplers", "differentiable")
    way = module.create(small_context(space, options=checked(module, {})))._way(0)
    kept = [sum(space.at(plan).kept.values()) for plan in way]
    assert space.at(way[-1]) == space.smallest()
    assert max(np.diff([sum(space.dense().kept.values()), *kept][::-1])) <= 2 * 8
