"""Going on with runs from Python, in this process."""

import dataclasses
import itertools
import json
from pathlib import Path

import optuna
import pytest
import yaml

import autoprune
from autoprune.core.measurement import Measurement
from autoprune.engine import stages
from autoprune.engine.run_artifacts import begun_with
from autoprune.engine.settings import Settings
from autoprune.errors import DeviceError, DeviceLostError, InterruptedSearchError, StorageError, UsageError
from autoprune.measure.device import Device
from autoprune.samplers import distributions
from autoprune.searching.candidate import Evaluator
from autoprune.searching.screen import Screen
from autoprune.store.run import RunDirectory
from autoprune.testing.fakes import FakeClock, RecordingReporter
from autoprune.testing.sampler import small_context, small_space

QUICK = {"budget": "params=70%", "run": "r", "trials": 7, "finetune_epochs": 0, "finalists": 1}


def plans():
    entries = map(json.loads, Path("r/measurements.jsonl").read_text().splitlines())
    return [str(entry["plan"]) for entry in entries if entry["stage"] == "search"]


def stopping(task, nth):
    """The task, stopped by its user while it is evaluated for the nth time."""
    count = []

    def evaluate(model, split):
        count.append(1)
        if len(count) == nth:
            raise KeyboardInterrupt
        return task.evaluate(model, split)

    return dataclasses.replace(task, evaluate=evaluate)


def test_more_trials_are_new_ones_whatever_the_sampler_drew_before(small_task):
    autoprune.search(small_task, sampler="random", **{**QUICK, "trials": 5})
    first = plans()
    longer = autoprune.resume("r", task=small_task, trials=8)
    assert longer.best is not None
    assert plans()[: len(first)] == first
    assert len(plans()) == len(set(plans())) == 8


def test_a_resumed_sampler_draws_other_numbers_than_the_first():
    def drawn(told):
        study = optuna.create_study(sampler=Settings(sampler="tpe").made_sampler(small_context(small_space()), told))
        return study.ask(dict(distributions(small_space()))).params

    assert drawn(0) == drawn(0)
    assert drawn(150) == drawn(150)
    assert drawn(0) != drawn(150)


def test_a_run_that_has_ended_is_given_back_and_trained_longer_on_request(small_task):
    ended = autoprune.search(small_task, **QUICK)
    reporter = RecordingReporter()
    again = autoprune.resume("r", task=small_task, reporter=reporter)
    assert any("has ended" in note for note in reporter.notes)
    assert again.best.plan == ended.best.plan
    assert again.best.load()(small_task.example_inputs[0]).shape == (4, 3)
    known = plans()
    trained = autoprune.finetune("r", task=small_task, finetune_epochs=3, finalists=2)
    assert plans() == known
    assert len(trained.front) >= 1
    assert yaml.safe_load(Path("r/run.yaml").read_text())["sampler"] == "auto"


@pytest.mark.slow
def test_a_finished_front_stands_where_going_on_is_stopped(small_task):
    autoprune.search(small_task, sampler="random", **{**QUICK, "trials": 4, "finetune_epochs": 1})
    kept = {path: path.read_bytes() for path in [Path("r/front.json"), *Path("r/models").rglob("*.safetensors")]}
    for trials in (6, 7):  # the second time the search is one that was stopped, its front still a finished one
        with pytest.raises(InterruptedSearchError, match="the finished front that it had stands"):
            autoprune.resume("r", task=stopping(small_task, 2), trials=trials)
    assert {path: path.read_bytes() for path in kept} == kept
    autoprune.resume("r", task=small_task)
    assert len(plans()) == 7


@pytest.mark.slow
def test_a_device_that_is_lost_at_the_end_costs_nothing_but_time(small_task, monkeypatch):
    def lost(self, models, advance):
        raise DeviceLostError(expected="the board", received="silence", cure="plug it in")

    with monkeypatch.context() as without, pytest.raises(DeviceLostError):
        without.setattr(Device, "measure_again", lost)
        autoprune.search(small_task, **{**QUICK, "finetune_epochs": 1, "budget": ["params=70%", "latency=1s"]})
    assert json.loads(Path("r/front.json").read_text())["partial"]
    assert autoprune.resume("r", task=small_task).best is not None


def test_where_training_fails_models_stay_as_repaired(small_task):
    calls = itertools.count()

    def raising(output, batch):
        if next(calls) > 1:  # what is tried before the search
            raise RuntimeError("no gradient for you")
        return output.sum()

    task, reporter = dataclasses.replace(small_task, loss=raising), RecordingReporter()
    made = autoprune.search(task, criterion="l2", reporter=reporter, **{**QUICK, "finetune_epochs": 1})
    assert made.best is not None
    assert len(made.front) <= QUICK["finalists"]
    assert any("stays as repaired" in warning and "no gradient for you" in warning for warning in reporter.warnings)


def test_training_that_diverges_leaves_models_as_repaired(small_task):
    calls = itertools.count()

    def diverging(output, batch):
        return (output.sum() - output.sum()) / (0.0 if next(calls) > 1 else 1.0)

    task, reporter = dataclasses.replace(small_task, loss=diverging), RecordingReporter()
    made = autoprune.search(task, criterion="l2", reporter=reporter, **{**QUICK, "finetune_epochs": 1})
    assert any("stays as repaired" in warning and "loss of nan" in warning for warning in reporter.warnings)
    for point in made.front:
        assert all(weight.isfinite().all() for weight in point.load().parameters())


def test_what_is_stopped_before_its_first_candidate_says_how_to_go_on(small_task, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as early, pytest.raises(InterruptedSearchError, match="autoprune resume r"):
        early.setattr(stages, "calibrate", stopped)
        autoprune.search(small_task, sampler="random", **QUICK)
    assert autoprune.resume("r", task=small_task).best is not None


def test_options_of_a_sampler_do_not_hinder_fine_tuning(small_task):
    options = {"warm": "false"}
    autoprune.search(small_task, sampler="nsga2", sampler_options=options, **QUICK)
    autoprune.finetune("r", task=small_task, finetune_epochs=1)
    recipe = yaml.safe_load(Path("r/run.yaml").read_text())
    assert (recipe["sampler"], recipe["sampler_options"]) == ("nsga2", options)


def test_a_run_of_many_workers_goes_on_inline(small_task):
    autoprune.search(small_task, sampler="random", **{**QUICK, "trials": 4})
    recipe = yaml.safe_load(Path("r/run.yaml").read_text())
    Path("r/run.yaml").write_text(yaml.safe_dump({**recipe, "executor": "ray", "workers": 4}))
    assert autoprune.resume("r", task=small_task, executor="inline", trials=5).best is not None


def test_a_search_that_was_cut_short_goes_on_after_fine_tuning(small_task):
    with pytest.raises(InterruptedSearchError):
        autoprune.search(stopping(small_task, 6), sampler="random", **QUICK)
    autoprune.finetune("r", task=small_task, finetune_epochs=1)
    autoprune.resume("r", task=small_task)
    assert len(plans()) == QUICK["trials"]


@pytest.mark.slow
def test_stop_while_screening_leads_to_the_same_plans(small_task, monkeypatch):
    hopeless, stopping_at = [], []

    def reason(self, plan, trials):
        if len(hopeless) < 2:
            hopeless.append(plan)
        if plan in stopping_at:
            stopping_at.remove(plan)
            raise KeyboardInterrupt
        return "hopeless" if plan in hopeless else ""

    monkeypatch.setattr(Screen, "reason", reason)
    asked = {"sampler": "nsga2", "sampler_options": {"warm": "true"}, "deterministic": True, **QUICK, "trials": 9}
    autoprune.search(small_task, **{**asked, "run": "whole"})
    stopping_at.append(hopeless[0])
    with pytest.raises(InterruptedSearchError):
        autoprune.search(small_task, **asked)
    autoprune.resume("r", task=small_task)
    courses = []
    for run in ("r", "whole"):
        entries = map(json.loads, Path(run, "measurements.jsonl").read_text().splitlines())
        courses.append(sorted((e["trial"], e["state"], str(e["plan"])) for e in entries if e["stage"] == "search"))
    assert courses[0] == courses[1]


def test_resume_keeps_the_goal_that_the_run_began_with(tmp_path):
    def dense(seconds):
        return {"latency": Measurement("latency", seconds, "s", 0.9 * seconds, 1.1 * seconds)}

    directory = RunDirectory.create(tmp_path / "r", FakeClock())
    assert begun_with(directory, dense(0.01), new=True) == dense(0.01)
    assert begun_with(directory, dense(0.02), new=False) == dense(0.01)
    directory.write("dense.json", b"{")
    with pytest.raises(StorageError, match=r"dense\.json"):
        begun_with(directory, dense(0.02), new=False)
    directory.close()


@pytest.mark.slow
def test_training_longer_proposes_nothing_in_place_of_what_was_dismissed(small_task, monkeypatch):
    monkeypatch.setattr(Screen, "reason", lambda self, plan, trials: "hopeless" if len(trials) > 4 else "")
    autoprune.search(small_task, **QUICK)
    known = plans()
    assert len(known) > QUICK["trials"]
    autoprune.finetune("r", task=small_task, finetune_epochs=1)
    assert plans() == known


def test_what_was_an_object_must_be_passed_again(small_task):
    autoprune.search(small_task, sampler=optuna.samplers.TPESampler(seed=0), **QUICK)
    with pytest.raises(UsageError, match="sampler=TPESampler|its type, TPESampler"):
        autoprune.resume("r", task=small_task, trials=9)
    with pytest.raises(UsageError, match="task="):
        autoprune.resume("r", sampler="random", trials=9)
    with pytest.raises(UsageError, match="seed"):
        autoprune.resume("r", task=small_task, sampler="random", seed=3)
    autoprune.resume("r", task=small_task, sampler="random", trials=8)
    assert len(plans()) == 8


def test_runs_whose_parts_are_gone_or_of_another_device_are_refused(small_task):
    autoprune.search(small_task, **{**QUICK, "budget": "latency=99%", "sampler": "random", "trials": 3})
    recipe = Path("r/run.yaml").read_text()
    found = yaml.safe_load(recipe)
    Path("r/run.yaml").write_text(yaml.safe_dump({**found, "device_fingerprint": "another processor"}))
    with pytest.raises(DeviceError, match="another processor"):
        autoprune.resume("r", task=small_task, trials=9)
    Path("r/run.yaml").write_text(yaml.safe_dump({key: value for key, value in found.items() if key != "budget"}))
    with pytest.raises(StorageError, match="budget"):
        autoprune.resume("r", task=small_task, trials=9)
    Path("r/run.yaml").write_text(recipe)
    ranking = Path("r/ranking.safetensors").read_bytes()
    Path("r/ranking.safetensors").write_bytes(ranking[:-9])
    with pytest.raises(StorageError, match="ranking"):
        autoprune.resume("r", task=small_task, trials=9)
    Path("r/study.journal").unlink()
    with pytest.raises(StorageError, match="no such file"):
        autoprune.resume("r", task=small_task, trials=9)
    assert not Path("r/study.journal").exists()


def test_full_disk_fails_no_candidate(small_task, monkeypatch):
    repair, full = Evaluator._repair, [False, False, True]

    def filled(evaluator, *about):
        if full and full.pop(0):
            raise StorageError(expected="to write a model", received="No space left on device", cure="free space")
        return repair(evaluator, *about)

    monkeypatch.setattr(Evaluator, "_repair", filled)
    with pytest.raises(StorageError, match="No space"):
        autoprune.search(small_task, sampler="random", **QUICK)
    result = autoprune.resume("r", task=small_task)
    assert result.document["trials"]["failed"] == 0
    assert len(plans()) == QUICK["trials"]
