import pytest

from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, cost
from autoprune.core.plan import Plan
from autoprune.core.proposal import Proposal, contested
from autoprune.core.rivals import Rivals
from autoprune.core.trial import Trial, TrialState

ACCURACY = Metric("accuracy", "1", lower_is_better=False, high=1.0)
ERROR = Metric("rmse", "1", lower_is_better=True)


def trial(number, quality, ratio, excess=-1.0, metric=ACCURACY, suffix=""):
    found = {
        metric.name: Measurement.exact(metric.name, quality, "1"),
        f"latency.relative{suffix}": Measurement.exact("latency.relative", ratio, "1"),
    }
    return Trial(number, Plan(()), TrialState.COMPLETE, found, {"latency": excess})


def goal(*metrics):
    return SearchGoal(metrics, tuple(1.0 for _ in metrics), tuple(None for _ in metrics))


def scored(value, metric=ACCURACY):
    return {metric.name: Measurement.exact(metric.name, value, "1")}


def test_a_candidate_has_to_beat_the_cheapest_that_is_as_good():
    rivals = Rivals.of([trial(0, 0.9, 0.5), trial(1, 0.8, 0.2), trial(2, 0.95, 0.7)], goal(ACCURACY, cost("latency")))
    assert rivals.ceilings(scored(0.85)) == {"latency.relative": 0.5}
    assert rivals.ceilings(scored(0.8)) == {"latency.relative": 0.2}
    assert rivals.ceilings(scored(0.99)) == {}


def test_lower_is_better_of_an_error():
    rivals = Rivals.of([trial(0, 0.5, 0.4, metric=ERROR)], goal(ERROR, cost("latency")))
    assert rivals.ceilings(scored(0.6, ERROR)) == {"latency.relative": 0.4}
    assert rivals.ceilings(scored(0.4, ERROR)) == {}


def test_what_breaks_the_budget_or_failed_is_no_rival():
    failed = Trial(1, Plan(()), TrialState.FAILED, error="out of memory")
    rivals = Rivals.of([trial(0, 0.9, 0.1, excess=0.2), failed], goal(ACCURACY, cost("latency")))
    assert rivals.ceilings(scored(0.5)) == {}


def test_the_latency_of_a_named_device_is_compared_there():
    rivals = Rivals.of([trial(0, 0.9, 0.5, suffix="@pi")], goal(ACCURACY, cost("latency@pi")))
    assert rivals.ceilings(scored(0.5)) == {"latency.relative@pi": 0.5}


@pytest.mark.parametrize(
    "metrics", [(ACCURACY, cost("params")), (ACCURACY, cost("latency"), cost("params")), (cost("latency"),)]
)
def test_other_objectives_leave_nobody_beaten_for_sure(metrics):
    assert Rivals.of([trial(0, 0.9, 0.5)], goal(*metrics)) is None


def test_each_proposal_meets_those_that_are_known_when_it_goes_out():
    known = []
    found = contested([Proposal(0, Plan(())), None, Proposal(1, Plan(()))], lambda: Rivals(ACCURACY, "k", tuple(known)))
    assert next(found).rivals.known == ()
    known.append((0.9, 0.5))
    assert next(found) is None
    assert next(found).rivals.known == ((0.9, 0.5),)


def test_only_those_that_nobody_beats_are_kept():
    rivals = Rivals.of([], goal(ACCURACY, cost("latency")))
    for each in (trial(0, 0.8, 0.5), trial(1, 0.9, 0.4), trial(2, 0.7, 0.6), trial(3, 0.95, 0.9), trial(4, 0.9, 0.4)):
        rivals = rivals.joined_by(each)
    assert rivals.known == ((0.9, 0.4), (0.95, 0.9))
