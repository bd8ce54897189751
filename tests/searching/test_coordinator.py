import pytest
from optuna.storages import InMemoryStorage

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.effort import Effort
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import BudgetInfeasibleError, TaskError
from autoprune.searching.coordinator import Coordinator
from autoprune.testing.fakes import FakeClock
from autoprune.testing.sampler import small_space

SPACE = small_space(groups=3, size=32)
QUALITY = Metric("accuracy", "1", lower_is_better=False, high=1.0)


def coordinator(budget="params=90%", sampler="random", clock=None, **effort):
    made = registry.load("samplers", sampler).create(SPACE, 0)
    objectives = (QUALITY, COSTS["params"])
    return Coordinator(
        SPACE, Budget.parse(budget), objectives, made, InMemoryStorage(), Effort(**effort), clock or FakeClock()
    )


def answered(proposal, low=1.0):
    share = sum(proposal.plan.kept.values()) / 96
    params = Measurement("params", 1000 * share, "1", 1000 * share * low, 1000 * share)
    return Trial(
        proposal.number, proposal.plan, TrialState.COMPLETE,
        {"accuracy": Measurement.exact("accuracy", share, "1"), "params": params}, {"params": share / 0.9 - 1},
    )  # fmt: skip


def test_dense_smallest_and_uniform_plans_come_first():
    made = coordinator(trials=6)
    plans = []
    for proposal in made.proposals():
        plans.append(proposal.plan)
        made.tell(answered(proposal))
    assert plans[:2] == [SPACE.dense(), SPACE.smallest()]
    assert SPACE.uniform(0.5) in plans


def test_no_plan_is_evaluated_twice_and_an_exhausted_space_ends_the_search():
    made = coordinator(trials=10_000)
    plans = []
    for proposal in made.proposals():
        plans.append(proposal.plan)
        made.tell(answered(proposal))
    assert len(plans) == len(set(plans)) == SPACE.plans


def test_a_sampler_that_only_repeats_itself_ends_the_search():
    made = coordinator(sampler="uniform", trials=10_000)
    for proposal in made.proposals():
        made.tell(answered(proposal))
    assert len(made.trials) == 4


def test_time_is_up_by_the_injected_clock():
    clock = FakeClock()
    made = coordinator(clock=clock, trials=50, seconds=10.0)
    for proposal in made.proposals():
        made.tell(answered(proposal))
        clock.advance(3)
    assert len(made.trials) == 4


def test_the_smallest_plan_decides_what_is_impossible():
    made = coordinator(budget="params=3", trials=9)
    proposals = made.proposals()
    made.tell(answered(next(proposals)))
    with pytest.raises(BudgetInfeasibleError, match="best possible 250"):
        made.tell(answered(next(proposals)))


def test_what_the_interval_leaves_open_is_not_called_impossible():
    made = coordinator(budget="params=200", trials=3)
    for proposal in made.proposals():
        made.tell(answered(proposal, low=0.5))
    assert len(made.trials) == 3


def test_failures_are_counted_by_cause():
    made = coordinator(trials=50)
    proposals = made.proposals()
    made.tell(answered(next(proposals)))
    with pytest.raises(TaskError, match="6 failures, 4 of them: oom"):
        for cause in ("oom", "nan", "oom", "oom", "nan", "oom", "never"):
            proposal = next(proposals)
            made.tell(Trial(proposal.number, proposal.plan, TrialState.FAILED, error=cause))
