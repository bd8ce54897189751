"""Programs that listen to a search."""

import dataclasses
import json
from pathlib import Path

import pytest

import autoprune
from autoprune.errors import UsageError
from autoprune.testing.fakes import RecordingReporter

QUICK = {"budget": "params=90%", "run": "r", "finalists": 2, "sampler": "random", "finetune_lr": 1e-3}


def log(event):
    entries = map(json.loads, Path("r/log.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["event"] == event]


def test_a_program_is_told_of_candidates_and_epochs(small_task):
    trials, epochs, fronts = [], [], []
    told = {"on_trial": trials.append, "on_epoch": epochs.append, "on_front": fronts.append}
    autoprune.search(small_task, trials=5, finetune_epochs=2, **told, **QUICK)
    assert len(trials) == 5
    assert [report.trials for report in fronts] == [1, 2, 3, 4, 5]
    last = fronts[-1]
    assert {trial.number for trial in last.front} <= {trial.number for trial in trials}
    assert [trial.value("params") for trial in last.front] == sorted(trial.value("params") for trial in last.front)
    assert last.volume == pytest.approx(log("trial")[-1]["hypervolume"], abs=1e-4)
    assert last.best.number == log("trial")[-1]["best"]
    assert {trial.number for trial in trials} >= {report.trial for report in epochs}
    for trial in trials:
        assert trial.measurements["accuracy"].value >= 0
        assert trial.plan.kept
        with pytest.raises(TypeError):
            trial.measurements["accuracy"] = None
    assert {report.epoch for report in epochs} == {1, 2}
    assert all(report.loss > 0 and report.epochs == 2 and report.plan.kept for report in epochs)
    assert any("accuracy" in report.metrics for report in epochs)
    with pytest.raises(dataclasses.FrozenInstanceError):
        epochs[0].loss = 0
    told = log("trial")
    assert [entry["plan"] for entry in told] == [trial.plan.kept for trial in trials]
    assert [entry["metrics"]["params"] for entry in told] == [trial.value("params") for trial in trials]
    assert [(e["trial"], e["epoch"]) for e in log("epoch")] == [(e.trial, e.epoch) for e in epochs]
    assert all(entry["training_loss"] > 0 and "plan" not in entry for entry in log("epoch"))
    more = []
    autoprune.resume("r", task=small_task, trials=7, finetune_epochs=0, on_trial=more.append)
    assert len(more) == 2
    trained = []
    autoprune.finetune("r", task=small_task, finetune_epochs=1, on_epoch=trained.append)
    assert trained


def test_a_callback_that_fails_is_reported_once_and_ends_nothing(small_task):
    reporter = RecordingReporter()

    def fails(record):
        raise ZeroDivisionError("my tracker is gone")

    about = {"trials": 4, "finetune_epochs": 1, "reporter": reporter}
    result = autoprune.search(small_task, on_trial=fails, on_epoch=fails, on_front=fails, **about, **QUICK)
    assert result.best is not None
    assert sum("my tracker is gone" in warning for warning in reporter.warnings) == 3


def test_a_callback_may_stop_the_search_as_ctrl_c_does(small_task):
    def stops(trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(autoprune.AutopruneError, match="the front so far"):
        autoprune.search(small_task, trials=9, finetune_epochs=0, on_trial=stops, **QUICK)
    assert json.loads(Path("r/front.json").read_text())["partial"]


def test_what_is_no_function_is_refused(small_task):
    with pytest.raises(UsageError, match="on_epoch"):
        autoprune.search(small_task, trials=3, on_epoch=3, **QUICK)
