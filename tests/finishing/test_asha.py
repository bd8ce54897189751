"""Asynchronous halving: who comes to a rung is told at once. Ray Tune's own scheduler is compared where Ray is started."""

import numpy as np
import pytest

from autoprune.finishing.asha import AshaRule, _asha
from autoprune.finishing.lane import Lane
from tests.finishing.test_successive_halving import Run

SIX = {Lane(k): k // 3 for k in range(6)}


class Tune:
    """As Ray Tune's: the best third of what came before goes on."""

    def __init__(self, *, metric, reduction_factor, **_):
        self.metric, self.share, self.came = metric, 100 * (1 - 1 / reduction_factor), []

    def on_trial_add(self, controller, trial): ...

    def on_trial_result(self, controller, trial, result):
        cutoff = np.percentile(self.came, self.share) if self.came else result[self.metric]
        self.came.append(result[self.metric])
        return "STOP" if result[self.metric] < cutoff else "CONTINUE"


def rule(epochs, bins, scheduler=Tune):
    return AshaRule(epochs, bins, scheduler=scheduler)


def decided(made, scores):
    found = []
    for candidate, score in scores:
        made.report(Lane(candidate), 2, score)
        found.append(made.decision(Lane(candidate), 2))
    return found


def test_nobody_waits_at_a_rung_and_bins_are_apart():
    came = [(1, (0.5,)), (0, (0.4,)), (2, (0.6,)), (3, (0.1,)), (4, (0.2,))]
    assert decided(rule(6, SIX), came) == ["go", "stop", "go", "go", "go"]


def test_what_decides_first_counts_before_what_decides_next():
    came = [(0, (0.0, -9.0, 0.9)), (1, (0.0, -8.0, 0.1)), (2, (-0.1, -1.0, 0.9))]
    assert decided(rule(6, SIX), came) == ["go", "go", "stop"]


@pytest.mark.parametrize("deaths", [(), (1,), (3, 4), (2, 5, 9, 13)])
def test_one_of_each_bin_is_trained_to_the_end_whenever_the_process_dies(tmp_path, deaths):
    run = Run(tmp_path)
    run.rule = rule
    for death in (*deaths, None):
        halving = run.open()
        for job in halving.jobs():
            assert job is not None  # with one worker nobody ever waits
            if death is not None and len(run.trained) >= death:
                break
            halving.report(run.result(job))
    assert len(run.trained) == len(set(run.trained))
    assert [k.candidate for k, each in halving.runs.items() if each.outcome == "complete"] == [2, 5]
    assert {each.done for each in halving.runs.values()} <= {2, 6}


@pytest.mark.slow
def test_ray_tune_decides_as_is_told():
    came = [(k, (float(score),)) for k, score in enumerate(np.random.default_rng(0).permutation(12))]
    alike = dict.fromkeys(map(Lane, range(12)), 0)
    assert decided(rule(6, alike, _asha), came) == decided(rule(6, alike), came)
