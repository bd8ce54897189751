"""The order of a candidate's steps."""

from contextlib import nullcontext

import pytest

from autoprune.core.budget import Budget
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.proposal import Proposal
from autoprune.core.trial import TrialState
from autoprune.engine.prepare import prepare
from autoprune.measure.setup import Setup
from autoprune.recovery.calibrate import calibrate
from autoprune.searching.candidate import Evaluator
from autoprune.testing.fakes import FakeClock


class Recording:
    """A device that writes down when it was asked, and may take the process down that measures."""

    setup = Setup("torch", RunSpec())

    def __init__(self, example, said, error=None):
        self.example, self._said, self._error = example, said, error

    def measure(self, cut, bounds, ceilings):
        self._said.append("measure")
        if self._error is not None:
            raise self._error
        return {"latency": Measurement.exact("latency", 0.01, "s")}

    def computing(self):
        return nullcontext()


@pytest.fixture
def evaluator(small_task):
    from dataclasses import replace

    from autoprune.surgery.example import Example

    said = []

    def evaluate(model, batches):
        said.append("score")
        return small_task.evaluate(model, batches)

    task = replace(small_task, evaluate=evaluate)
    prepared, clock = prepare(task, None), FakeClock()
    calibrated = calibrate(task.model, prepared.traced, "l2", "none", clock, task)

    def made(guarded, error=None):
        return said, prepared.space, Evaluator(
            task=task, traced=prepared.traced, ranking=calibrated.ranking,
            device=Recording(Example.of(task.example_inputs), said, error), budget=Budget(()), dense={}, clock=clock,
            repair=calibrated.repair, guarded=guarded,
        )  # fmt: skip

    return made


def test_scores_come_first_so_that_timing_knows_what_there_is_to_beat(evaluator):
    said, space, evaluate = evaluator(guarded=False)
    assert evaluate(Proposal(0, space.smallest())).state is TrialState.COMPLETE
    assert said == ["score", "measure"]


def test_without_a_repair_a_candidate_runs_first_where_it_can_do_no_harm(evaluator):
    said, space, evaluate = evaluator(guarded=True, error=ValueError("SIGSEGV"))
    failed = evaluate(Proposal(0, space.smallest()))
    assert failed.state is TrialState.FAILED
    assert "SIGSEGV" in failed.error
    assert said == ["measure"]
