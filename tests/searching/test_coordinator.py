import contextlib
import dataclasses

import pytest
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler
from optuna.storages import InMemoryStorage

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.effort import Effort
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS
from autoprune.core.proposal import Proposal
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import BudgetInfeasibleError, StorageError, TaskError
from autoprune.searching.coordinator import Coordinator, check_possible
from autoprune.searching.study import Study
from autoprune.store.ledger import Ledger
from autoprune.testing.fakes import FakeClock
from autoprune.testing.sampler import small_context, small_space
from tests.searching.trials import QUALITY, SPACE


def coordinator(
    budget="params=90%", sampler="random", clock=None, window=0, ledger=None, new=True, spent=0.0, **effort
):
    made = registry.load("samplers", sampler).create(small_context(SPACE))
    study = Study(ledger or Ledger(InMemoryStorage()), "s", SPACE, (QUALITY, COSTS["params"]), made, new=new)
    return Coordinator(
        study, SPACE, Budget.parse(budget), Effort(**effort), clock or FakeClock(), window=window, spent=spent
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


@pytest.mark.parametrize(("sampler", "others"), [("random", {"random"}), ("dp", {"dp", "thompson", "random"})])
def test_each_trial_says_who_proposed_it(sampler, others):
    made = coordinator(sampler=sampler, trials=10)
    for proposal in made.proposals():
        made.tell(answered(proposal))
    said = [trial.proposer for trial in made.trials]
    assert said[:3] == ["ends of the space", "ends of the space", "uniform"]
    assert set(said[3:]) - {"uniform"} <= others
    assert said[-1] in others
    assert Trial.from_json(made.trials[0].to_json("search")).proposer == "ends of the space"


def test_exhausted_space_ends_the_search_without_repeats():
    made = coordinator(trials=10_000)
    plans = []
    for proposal in made.proposals():
        plans.append(proposal.plan)
        made.tell(answered(proposal))
    assert len(plans) == len(set(plans)) == SPACE.plans


def test_a_search_that_wants_no_more_leaves_nothing_to_be_evaluated():
    def begun(seeds, new):
        sampler = registry.load("samplers", "random").create(small_context(SPACE))
        study = Study(ledger, "s", SPACE, (QUALITY, COSTS["params"]), sampler, new=new)
        return Coordinator(study, SPACE, Budget(()), Effort(trials=3), FakeClock(), seeds=seeds)

    ledger = Ledger(InMemoryStorage())
    made = begun([SPACE.at((2, 1, 2))], new=True)
    for proposal in made.proposals():
        made.tell(answered(proposal))
    assert list(begun([], new=False).proposals()) == []
    assert all(trial.state.is_finished() for trial in ledger.storage.get_all_trials(0))


def test_dismissals_in_a_row_are_counted_on_after_a_kill():
    def begun(ledger, dismissed, new):
        sampler = registry.load("samplers", "random").create(small_context(SPACE))
        study = Study(ledger, "s", SPACE, (QUALITY, COSTS["params"]), sampler, new=new)
        screen = lambda plan, trials: "hopeless"  # noqa: E731
        return Coordinator(study, SPACE, Budget(()), Effort(), FakeClock(), screen=screen, dismissed=dismissed)

    def killed(trial):
        if len(first.screened) == 25:
            raise KeyboardInterrupt

    ledger = Ledger(InMemoryStorage())
    first = begun(ledger, killed, new=True)
    proposals = first.proposals()
    for _ in range(4):  # what comes first is not screened
        first.tell(answered(next(proposals)))
    running = next(proposals)  # let through after twenty
    with pytest.raises(KeyboardInterrupt):
        next(proposals)
    again = begun(ledger, lambda trial: None, new=False)
    proposals = again.proposals()
    assert next(proposals).plan == running.plan
    assert len(again.screened) == 25
    next(proposals)
    assert len(again.screened) == 40


def test_dismissed_plan_that_keeps_coming_is_evaluated():
    """A sampler that has one plan in mind, as those that see no value in what was dismissed."""

    class Stubborn(BaseSampler):
        def infer_relative_search_space(self, study, trial):
            return {}

        def sample_relative(self, study, trial, search_space):
            return {}

        def sample_independent(self, study, trial, name, distribution):
            return {"g0": 3, "g1": 2, "g2": 1}[name]

    def begun(new):
        study = Study(ledger, "s", SPACE, (QUALITY, COSTS["params"]), Stubborn(), new=new)
        screen = lambda plan, trials: "hopeless"  # noqa: E731
        return Coordinator(
            study, SPACE, Budget(()), Effort(trials=7), FakeClock(), screen=screen, dismissed=dismissed.append
        )

    ledger, dismissed = Ledger(InMemoryStorage()), []
    made = begun(new=True)
    for proposal in made.proposals():
        made.tell(answered(proposal))
    assert SPACE.at((3, 2, 1)) in {trial.plan for trial in made.trials}
    assert len(dismissed) == 1
    assert made.screened == ()
    assert made.exhausted
    assert begun(new=False).screened == ()


def test_a_sampler_that_only_repeats_itself_ends_the_search():
    made = coordinator(sampler="uniform", trials=10_000)
    for proposal in made.proposals():
        made.tell(answered(proposal))
    assert len(made.trials) == 4


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["brute force", "grid"])
def test_a_sampler_that_has_proposed_all_it_wants_ends_the_search(sampler):
    levels = {"g0": [0, 1], "g1": [1], "g2": [2]}
    made = BruteForceSampler(seed=0) if sampler == "brute force" else GridSampler(levels, seed=0)
    study = Study(Ledger(InMemoryStorage()), "s", SPACE, (QUALITY, COSTS["params"]), made)
    made = Coordinator(study, SPACE, Budget(()), Effort(trials=10_000), FakeClock())
    for proposal in made.proposals():
        made.tell(answered(proposal))
    assert study.ended
    assert 2 <= len(made.trials) <= SPACE.plans


def test_time_is_up_by_the_injected_clock():
    clock = FakeClock()
    made = coordinator(clock=clock, trials=50, seconds=10.0)
    for proposal in made.proposals():
        made.tell(answered(proposal))
        clock.advance(3)
    assert len(made.trials) == 4


def test_time_that_earlier_processes_took_counts():
    clock = FakeClock()
    made = coordinator(clock=clock, trials=50, seconds=14.0, spent=5.0)
    for proposal in made.proposals():
        made.tell(answered(proposal))
        clock.advance(3)
    assert len(made.trials) == 3


def test_a_few_plans_are_evaluated_however_little_time_there_is():
    made = coordinator(clock=FakeClock(), trials=50, seconds=1.0, spent=5.0)
    for proposal in made.proposals():
        made.tell(answered(proposal))
    assert len(made.trials) == 3


def test_what_is_good_enough_ends_the_search():
    made = coordinator(trials=50)
    for proposal in made.proposals():
        made.tell(answered(proposal))
        if len(made.trials) == 5:
            made.satisfy()
    assert len(made.trials) == 5


def test_the_smallest_plan_decides_what_is_impossible():
    made = coordinator(budget="params=3", trials=9)
    proposals = made.proposals()
    made.tell(answered(next(proposals)))
    with pytest.raises(BudgetInfeasibleError, match="best possible 250"):
        made.tell(answered(next(proposals)))


def test_the_smallest_plan_need_not_be_the_fastest():
    def timed(proposal, seconds):
        latency = Measurement("latency", seconds, "s", seconds, seconds)
        return dataclasses.replace(answered(proposal), measurements={"latency": latency})

    for slow, impossible in ((0.0055, False), (0.0070, True)):
        dense, smallest = (timed(Proposal(k, SPACE.dense()), s) for k, s in enumerate((0.010, slow)))
        told = pytest.raises(BudgetInfeasibleError) if impossible else contextlib.nullcontext()
        with told:
            check_possible(smallest, dense, Budget.parse("latency=5ms"))


def test_share_is_judged_by_the_paired_ratio():
    made = coordinator(budget="latency=70%", trials=9)
    proposals = made.proposals()
    for slower in (1.0, 5.0):  # the device of the second process is in a slow phase
        found = answered(next(proposals))
        share = found.value("accuracy")
        latency = Measurement.exact("latency", slower * share, "s")
        more = {"latency": latency, "latency.relative": Measurement.exact("latency.relative", share, "1")}
        made.tell(dataclasses.replace(found, measurements={**found.measurements, **more}))
    assert len(made.trials) == 2


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


def test_two_workers_never_get_the_same_plan():
    made = coordinator(trials=SPACE.plans)
    out, seen = [], []
    for proposal in made.proposals():
        if proposal is not None:
            out.append(proposal)
            seen.append(proposal.plan)
        while out and (proposal is None or len(out) == 4):
            made.tell(answered(out.pop()))
            if proposal is None:
                break
    for proposal in out:
        made.tell(answered(proposal))
    assert len(seen) == len(set(seen)) == SPACE.plans
    assert {trial.plan for trial in made.trials} == set(seen)


def test_in_a_repeatable_search_outcomes_are_told_in_the_order_of_asking():
    def plans(arrive):
        made, out = coordinator(sampler="nsga2", window=3, trials=30), []
        order = []
        for proposal in made.proposals():
            if proposal is not None:
                out.append(proposal)
            if proposal is None:
                told = made.tell(answered(out.pop(arrive(len(out)))))
                order.extend(trial.number for trial in told)
        for proposal in out:
            order.extend(trial.number for trial in made.tell(answered(proposal)))
        assert order == sorted(order)
        return [trial.plan for trial in made.trials]

    assert plans(lambda n: 0) == plans(lambda n: n - 1) == plans(lambda n: n // 2)


def test_a_study_goes_on_where_another_process_left_it():
    ledger = Ledger(InMemoryStorage())
    first, proposals = coordinator(ledger=ledger, trials=9), []
    for proposal in first.proposals():
        proposals.append(proposal)
        if len(proposals) == 5:
            break
        first.tell(answered(proposal))
    again = coordinator(ledger=ledger, new=False, trials=9)
    assert again.trials == first.trials
    rest = []
    for proposal in again.proposals():
        rest.append(proposal)
        again.tell(answered(proposal))
    assert rest[0] == proposals[4]
    assert len(again.trials) == 9
    assert not {p.plan for p in rest} & {t.plan for t in first.trials}


def test_kept_outcome_is_told_and_not_evaluated_again():
    ledger = Ledger(InMemoryStorage())
    first = coordinator(ledger=ledger, window=2, trials=9)
    proposals = first.proposals()
    early, late = next(proposals), next(proposals)
    assert first.tell(answered(late)) == ()
    again = coordinator(ledger=ledger, new=False, window=2, trials=9)
    assert [trial.number for trial in again.evaluated] == [late.number]
    assert again.tell(again.evaluated[0]) == ()
    assert next(again.proposals()) == early
    assert [trial.number for trial in again.tell(answered(early))] == [early.number, late.number]


def test_a_candidate_that_always_takes_its_process_down_is_given_up():
    ledger = Ledger(InMemoryStorage())
    killer = next(coordinator(ledger=ledger, trials=9).proposals())
    for _ in range(3):
        assert next(coordinator(ledger=ledger, new=False, trials=9).proposals()) == killer
    after = next(coordinator(ledger=ledger, new=False, trials=9).proposals())
    assert after.number != killer.number


def test_bystanders_of_a_killed_process_are_evaluated():
    ledger = Ledger(InMemoryStorage())
    proposals = coordinator(ledger=ledger, window=3, trials=9).proposals()
    first = [next(proposals) for _ in range(3)]
    for _ in range(3):
        assert next(coordinator(ledger=ledger, new=False, window=3, trials=9).proposals()) == first[0]
    again = coordinator(ledger=ledger, new=False, window=3, trials=9)
    left = again.proposals()
    assert [next(left), next(left)] == first[1:]
    failed = [trial for trial in again.trials if trial.state is TrialState.FAILED]
    assert [trial.plan for trial in failed] == [first[0].plan]


def test_a_search_that_was_asked_to_stop_holds_it_against_nobody():
    ledger = Ledger(InMemoryStorage())
    first = next(coordinator(ledger=ledger, trials=9).proposals())
    for _ in range(6):
        again = coordinator(ledger=ledger, new=False, trials=9)
        assert next(again.proposals()) == first
        again.release()


def test_nothing_is_asked_for_while_nothing_is_told():
    made = coordinator(sampler="uniform", trials=10_000)
    proposals, out = made.proposals(), []
    while (proposal := next(proposals)) is not None:
        out.append(proposal)
    asked = len(made._study._study.trials)
    for _ in range(5):
        assert next(proposals) is None
    assert len(made._study._study.trials) == asked


def test_a_study_of_another_search_space_is_refused():
    ledger = Ledger(InMemoryStorage())
    coordinator(ledger=ledger)
    made = registry.load("samplers", "random").create(small_context(SPACE))
    with pytest.raises(StorageError, match="search space"):
        Study(ledger, "s", small_space(groups=2, size=32), (QUALITY, COSTS["params"]), made, new=False)
