from dataclasses import replace

import numpy as np

from autoprune.core.budget import Budget
from autoprune.core.effort import Effort
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.proposal import Proposal
from autoprune.core.trial import TrialState
from autoprune.samplers.random import create
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.screen import Screen
from autoprune.searching.study import Study
from autoprune.store.ledger import open_ledger
from autoprune.testing.fakes import FakeClock
from autoprune.testing.sampler import OBJECTIVES, pretended, small_context, small_space

SPACE = small_space()
CONTEXT = small_context(SPACE, most=0.5)


def trials(count):
    rng = np.random.default_rng(0)
    plans = [SPACE.at(rng.integers(0, CONTEXT.sizes)) for _ in range(count)]
    return [pretended(Proposal(number, plan), 0.5) for number, plan in enumerate(plans)]


def test_hopeless_plan_is_dismissed_once_enough_was_seen():
    screen, dense = Screen(CONTEXT.forecast, CONTEXT.goal, SPACE), SPACE.dense()
    assert screen.reason(dense, trials(5)) == ""
    assert "the budget has room for 50%" in screen.reason(dense, trials(30))
    assert screen.reason(SPACE.smallest(), trials(30)) == ""


def test_plan_beaten_within_the_budget_is_dismissed():
    """Quality is lost by one group alone: whole others do not make up for it."""

    def scored(trial, excesses):
        lost = 12.0 * (7 - SPACE.places(trial.plan)[0])
        quality = Measurement.exact("quality", CONTEXT.goal.dense[0] - lost, "1")
        return replace(trial, measurements={**trial.measurements, "quality": quality}, excesses=excesses)

    goal, hopeless = replace(CONTEXT.goal, limits=(None, None)), SPACE.at((0, 7, 7, 7, 7))
    known = [scored(trial, {}) for trial in trials(60)]
    assert "beat it in every way" in Screen(CONTEXT.forecast, goal, SPACE).reason(hopeless, known)
    beyond = [scored(trial, {"flops": 0.5}) for trial in trials(60)]
    assert Screen(CONTEXT.forecast, goal, SPACE).reason(hopeless, beyond) == ""


def test_where_nothing_has_room_the_budget_dismisses_nobody():
    goal = replace(CONTEXT.goal, limits=(None, 0.1 * CONTEXT.goal.dense[1]))  # the smallest plan takes an eighth
    screen = Screen(CONTEXT.forecast, goal, SPACE)
    known = [replace(trial, excesses={"params": trial.value("params") / goal.limits[1] - 1}) for trial in trials(30)]
    assert not any("the budget has room" in screen.reason(plan.plan, known) for plan in trials(60)[30:])


def searched(run, count, screened):
    run.mkdir(exist_ok=True)
    new = not (run / "study.journal").exists()
    ledger = open_ledger(run, "", new=new)
    study = Study(ledger, "s", SPACE, OBJECTIVES, create(CONTEXT), new=new)
    screen = Screen(CONTEXT.forecast, CONTEXT.goal, SPACE).reason
    made = Coordinator(study, SPACE, Budget(()), Effort(count), FakeClock(), screen=screen, dismissed=screened.append)
    for proposal in made.proposals():
        made.tell(pretended(proposal, 0.5))
    ledger.close()
    return made


def test_what_was_dismissed_is_recorded_and_is_no_result(tmp_path):
    dismissed = []
    made = searched(tmp_path / "r", 50, dismissed)
    assert len(made.trials) == 50
    assert dismissed
    assert tuple(dismissed) == made.screened
    assert all(trial.state is TrialState.SCREENED and trial.error for trial in dismissed)
    front = Front.of((*made.trials, *made.screened), OBJECTIVES)
    assert not {trial.plan for trial in front.trials} & {trial.plan for trial in dismissed}
    again = searched(tmp_path / "r", 52, [])
    assert {trial.plan for trial in again.screened} >= {trial.plan for trial in dismissed}
    assert len(again.trials) == 52
