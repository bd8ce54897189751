"""Fine-tuning that is to fit into a time."""

import json
from pathlib import Path

import pytest

import autoprune
from autoprune.errors import UsageError
from autoprune.options.search_options import SearchOptions
from autoprune.testing.fakes import RecordingReporter

QUICK = {"budget": "params=60%", "trials": 3, "finalists": 1, "finetune_lr": 1e-2, "finetune_steps": 1, "run": "r"}


def epochs_of(run):
    events = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]
    return [event["epoch"] for event in events if event["event"] == "epoch"]


def test_there_are_no_more_epochs_than_are_asked_for_and_none_without_time(small_task):
    autoprune.search(small_task, **QUICK, finetune_time="1h", finetune_epochs=2)
    assert max(epochs_of("r")) == 2
    reporter = RecordingReporter()
    autoprune.finetune("r", task=small_task, finetune_time=0.001, reporter=reporter)
    assert "no time to fine-tune: models stay as repaired" in reporter.notes


@pytest.mark.parametrize(
    ("asked", "epochs"), [({}, 6), ({"finetune_time": "10m"}, 100), ({"finetune_time": "10m", "finetune_epochs": 9}, 9)]
)
def test_epochs_at_most(asked, epochs):
    assert SearchOptions(**asked).training.epochs == epochs


@pytest.mark.parametrize("wrong", ["0s", "-5s", "soon"])
def test_a_time_that_is_none_is_refused(small_task, wrong):
    with pytest.raises(UsageError):
        autoprune.search(small_task, **QUICK, finetune_time=wrong)


def test_training_once_more_needs_a_length(small_task):
    autoprune.search(small_task, **QUICK, finetune_epochs=0)
    with pytest.raises(UsageError, match="finetune_epochs or finetune_time"):
        autoprune.finetune("r", task=small_task)


def test_time_that_epochs_leave_is_spent_on_other_recipes_and_one_model_of_a_bin_is_finished(small_task):
    free = {**QUICK, "finetune_lr": None}
    epochs, reporter = [], RecordingReporter()
    found = autoprune.search(
        small_task, **free, finetune_time="1h", finetune_epochs=2, reporter=reporter, on_epoch=epochs.append
    )
    assert {each.recipe for each in epochs} >= {"", "rate-x2", "rate-x0.5"}
    assert any("other recipes, too: rate-x2" in note for note in reporter.notes)
    assert len(found.front) == 1
    reached = [each.metrics["accuracy"].value for each in epochs if each.epoch == 2]
    assert small_task.score(found.best.load(), "search")["accuracy"].value >= max(reached)
