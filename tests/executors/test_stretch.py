"""What Ray Tune is told of a run, and what its trainable makes of that; no cluster is started."""

from types import SimpleNamespace

import pytest

from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from autoprune.finishing.lane import Lane
from autoprune.finishing.successive_halving import FinetuneRun
from autoprune.finishing.tuner import EpochResult
from autoprune.testing.fakes import RecordingReporter

pytest.importorskip("ray.tune")


def test_a_candidate_is_trained_elsewhere_in_the_precision_of_its_plan(tmp_path):
    from autoprune.executors._stretch import Stretch
    from autoprune.executors.ray_tune import TuneBridge

    plan = Plan.of({"conv1": 8}, "int8")
    run = FinetuneRun(Trial(3, plan, TrialState.COMPLETE), Lane(3))
    rule = SimpleNamespace(compared=lambda lane: (2,))
    halving = SimpleNamespace(next=lambda: run, rule=rule, file=lambda run: tmp_path / "3.safetensors")
    stretch, jobs = object.__new__(Stretch), []
    stretch._tuner = lambda job: jobs.append(job) or EpochResult(job.lane, 1, error="enough")
    assert stretch.reset_config(TuneBridge(halving, RecordingReporter()).begin("a"))
    stretch.step()
    assert [job.plan for job in jobs] == [plan]
