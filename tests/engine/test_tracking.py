"""A search that trackers follow: what they are told, and what becomes of it when they fail."""

import json
import math
import threading
from importlib import metadata
from pathlib import Path

import pytest

import autoprune
from autoprune import registry
from autoprune.core.clock import SystemClock
from autoprune.engine import tracking
from autoprune.engine.tracking import Tracking
from autoprune.errors import UsageError
from autoprune.store.run import RunDirectory
from autoprune.store.runs import cleanable
from autoprune.testing.fakes import FakeTracker, RecordingReporter

QUICK = {"budget": "params=90%", "run": "r", "finalists": 1, "sampler": "random", "finetune_lr": 1e-3}


@pytest.fixture
def installed(monkeypatch):
    """Have trackers under names, as a package would that declares them."""

    def install(**trackers):
        load, entry_points = registry.load, metadata.entry_points
        found = [metadata.EntryPoint(name, "a_package.tracker", "autoprune.trackers") for name in trackers]
        monkeypatch.setattr(
            metadata,
            "entry_points",
            lambda group: found if group == "autoprune.trackers" else entry_points(group=group),
        )
        monkeypatch.setattr(registry, "load", lambda kind, name: trackers.get(name) or load(kind, name))

    return install


def search(task, **options):
    reporter = RecordingReporter()
    result = autoprune.search(task, reporter=reporter, **{"trials": 4, "finetune_epochs": 1, **QUICK, **options})
    return result, reporter.warnings


def test_a_tracker_is_told_what_a_search_does_and_what_it_comes_to(small_task, installed):
    tracker = FakeTracker()
    installed(mine=tracker)
    result, warnings = search(small_task, track="mine")
    assert not [text for text in warnings if "tracker" in text]

    (run,) = tracker.told("create")
    assert (run.name, run.identity) == ("r", "")
    assert run.settings["effort.trials"] == 4
    assert run.settings["sampler"] == "random"

    trials = tracker.told("trial")
    assert sorted(model.trial for model in trials) == [0, 1, 2, 3]
    assert all({"accuracy", "params"} <= set(model.metrics) and model.plan for model in trials)
    scalars = tracker.told("scalars")
    volumes = [(step, values["search/volume"]) for values, step, _ in scalars if "search/volume" in values]
    assert [step for step, _ in volumes] == [1, 2, 3, 4]
    assert {"stages/ranking", "stages/training"} <= {name for values, _, _ in scalars for name in values}
    epochs = [(step, trial, values) for values, step, trial in scalars if trial is not None]
    assert epochs
    assert all(step == 1 and "training/accuracy" in values for step, _, values in epochs)

    (best,) = [model for model in tracker.told("finished") if model.best]
    assert best.trial == result.best.trial
    assert best.metrics["accuracy"] == result.best.measurements["accuracy"].value
    artifacts = {name: path for path, name in tracker.told("artifact")}
    assert {"report.html", "run.yaml", f"models/{best.trial}/README.md"} <= set(artifacts)
    assert all(path.is_file() for path in artifacts.values())
    assert tracker.calls[-1] == ("close", ("finished",))


@pytest.mark.slow
def test_a_run_that_goes_on_is_followed_in_the_same_place(small_task, installed):
    first, second, late = FakeTracker(), FakeTracker(), FakeTracker()
    installed(mine=first)
    search(small_task, track="mine", finetune_epochs=0)
    installed(mine=second, late=late)
    autoprune.resume("r", task=small_task, trials=6, reporter=RecordingReporter(), track="mine,late")
    assert second.told("create")[0].identity == "kept-r"
    assert [model.trial for model in second.told("trial")] == [4, 5]
    # One that comes to the run later is told what it missed.
    assert sorted(model.trial for model in late.told("trial")) == [0, 1, 2, 3, 4, 5]
    Path("r/tracking/mine").mkdir(parents=True)
    Path("r/tracking/mine/events").write_text("of the tracker")
    with cleanable([Path("r")], whole=True) as going:
        assert going == [Path("r")]


def follow(names, events=2, epochs=()):
    """What trackers of a small run are told, without a search; the warnings. epochs: lines of the log."""
    reporter = RecordingReporter()
    directory = RunDirectory.create(Path("r"), SystemClock())
    try:
        directory.write_recipe({"task": "small", "budget": []})
        following = Tracking(names, directory, reporter)
        directory.listen(following.heard)
        following.open()
        for number in range(events):
            about = {"feasible": True, "plan": {"conv": 3}, "metrics": {"params": 1.0, "loss": math.nan}}
            directory.log("trial", trial=number, trials=number + 1, hypervolume=0.5, **about)
        for epoch in epochs:
            directory.log("epoch", **epoch)
        following.end("finished")
    finally:
        directory.close()
    return reporter.warnings


def test_each_recipe_of_a_candidate_is_a_series_of_its_own(installed):
    tracker = FakeTracker()
    installed(mine=tracker)
    epochs = [{"trial": 1, "epoch": 2, "accuracy": 0.5}, {"trial": 1, "recipe": "rate-x2", "epoch": 2, "accuracy": 0.7}]
    follow(["mine"], epochs=epochs)
    told = [(values, step, trial) for values, step, trial in tracker.told("scalars") if trial is not None]
    assert told == [({"training/accuracy": 0.5}, 2, 1), ({"training/rate-x2/accuracy": 0.7}, 2, 1)]


def test_nothing_is_left_of_trackers_once_a_search_has_ended(installed):
    before = threading.enumerate()
    installed(mine=FakeTracker(), broken=FakeTracker(fails="trial"))
    follow(["mine", "broken"])
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in left)


@pytest.mark.parametrize("call", ["create", "trial", "artifact", "close"])
def test_a_tracker_that_fails_is_off_and_the_others_go_on(installed, call):
    broken, whole = FakeTracker(fails=call), FakeTracker()
    installed(broken=broken, whole=whole)
    (told,) = follow(["broken", "whole"])
    assert told == "tracker 'broken' is off, and the search goes on: ConnectionError: my server is gone"
    assert [name for name, _ in broken.calls].count(call) == 1
    assert [model.metrics for model in whole.told("trial")] == [{"params": 1.0}] * 2
    assert whole.told("close") == ["finished"]


@pytest.mark.parametrize("call", ["create", "trial", "close"])
def test_a_tracker_that_hangs_is_waited_for_once(installed, monkeypatch, call):
    monkeypatch.setattr(tracking, "BETWEEN_S", 1.5)
    monkeypatch.setattr(tracking, "ENDS_S", 1.5)
    hanging = FakeTracker(hangs=call)
    installed(hanging=hanging)
    told = follow(["hanging"])
    hanging.release.set()
    assert told == ["tracker 'hanging' is off, and the search goes on: no answer within 1.5 s"]
    assert hanging.calls[-1][0] == call


def test_a_missing_library_is_told_and_does_not_stop_a_search(installed):
    tracker = FakeTracker()
    tracker.LIBRARY = "no_such_library"
    installed(mine=tracker)
    (told,) = follow(["mine"])
    assert "pip install no_such_library" in told
    assert not tracker.calls


@pytest.mark.slow
def test_a_tracker_is_told_of_a_search_that_was_stopped(small_task, installed):
    tracker = FakeTracker()
    installed(mine=tracker)

    def stops(trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(autoprune.AutopruneError, match="the front so far"):
        search(small_task, track="mine", on_trial=stops)
    assert tracker.told("close") == ["stopped"]
    assert json.loads(Path("r/front.json").read_text())["partial"]


def test_a_tracker_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        autoprune.search("digits", track="tensorbord", **QUICK)
    with pytest.raises(UsageError, match="names of trackers with commas"):
        autoprune.search("digits", track=3, **QUICK)
    assert not Path("r").exists()
