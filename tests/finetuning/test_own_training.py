"""A search that calls the user's own training."""

import dataclasses

import pytest
import torch

import autoprune
from autoprune.errors import TaskError, UsageError
from autoprune.testing.fakes import RecordingReporter
from tests.training.test_schedules import training


@pytest.fixture
def trained_by_itself(small_task):
    seen = []

    def train(model, epoch, report):
        seen.append((epoch, model.training))
        optimizer = torch.optim.SGD(model.parameters(), 0.05 / (epoch + 1), momentum=0.9)
        for x, labels in small_task.split("train"):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            report(loss)

    return dataclasses.replace(small_task, train=train, loss=None, distance=None), seen


SEARCH = {"budget": "params=50%", "trials": 4, "finalists": 1, "criterion": "l1", "repair": "batchnorm"}


def test_a_search_trains_as_the_user_does(trained_by_itself, tmp_path):
    task, seen = trained_by_itself
    reporter = RecordingReporter()
    found = autoprune.search(task, **SEARCH, finetune_epochs=3, run="r", reporter=reporter)
    assert {epoch for epoch, _ in seen} == {0, 1, 2}
    assert all(mode for _, mode in seen)
    assert not [text for text in reporter.warnings if "fine-tuning failed" in text]
    assert '"training_loss"' in (tmp_path / "r" / "log.jsonl").read_text()
    score = task.score(found.best.load(), "validation")["loss"].value
    assert score == pytest.approx(found.best.measurements["loss"].value, abs=1e-5)


@pytest.mark.parametrize("schedule", ["iterative", "gradual", "lottery-ticket"])
def test_epochs_are_counted_across_phases_and_resumed_to_the_bit(trained_by_itself, schedule):
    task, seen = trained_by_itself
    whole, part, rest = (training(task, schedule)[0] for _ in range(3))
    for _ in range(4):
        whole.epoch()
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    for _ in range(3):
        part.epoch()
    rest.load(part.state(), 3)
    rest.epoch()
    assert [epoch for epoch, _ in seen][-1] == 3
    assert all(torch.equal(value, rest.model.state_dict()[name]) for name, value in whole.model.state_dict().items())


def test_what_is_zero_stays_zero_after_each_of_the_users_steps(trained_by_itself):
    task, _ = trained_by_itself
    alive = []

    def train(model, epoch, report):
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for x, labels in task.split("train"):
            torch.nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
            alive.append(int((model.conv2.weight.flatten(1).abs().sum(1) > 0).sum()))

    run, _, _ = training(dataclasses.replace(task, train=train), "gradual", ramp="0.5")
    run.epoch()
    assert len(set(alive)) == 1
    assert alive[0] < 32
    run.epoch()
    assert alive[-1] < alive[0]


def test_a_training_that_fails_leaves_models_as_repaired_and_says_why(trained_by_itself):
    def train(model, epoch, report):
        raise ValueError("no data today")

    reporter = RecordingReporter()
    task = dataclasses.replace(trained_by_itself[0], train=train)
    found = autoprune.search(task, **SEARCH, finetune_epochs=1, run="r", reporter=reporter)
    assert found.best is not None
    assert any("no data today" in text for text in reporter.warnings)


@pytest.mark.parametrize(
    ("train", "options", "words"),
    [
        (lambda model: None, {}, "Task.train to take a model, an epoch and report"),
        (None, {"finetune_lr": 1e-3}, "neither a rate nor steps"),
        (None, {"finetune_steps": 5}, "neither a rate nor steps"),
        (None, {"distill": "features"}, "nor distillers"),
    ],
)
def test_what_cannot_be_called_or_asked_for_is_refused_before_the_search(trained_by_itself, train, options, words):
    task, seen = trained_by_itself
    task = dataclasses.replace(task, train=train or task.train)
    with pytest.raises((TaskError, UsageError), match=words):
        autoprune.search(task, **SEARCH, finetune_epochs=2, run="r", **options)
    assert not seen


def test_a_loss_that_is_no_number_ends_the_training(trained_by_itself):
    task = dataclasses.replace(trained_by_itself[0], train=lambda model, epoch, report: report(float("nan")))
    with pytest.raises(TaskError, match="a finite loss from Task.train; received nan in epoch 0"):
        training(task, "one-shot")[0].epoch()


def test_what_is_no_function_is_refused(small_task):
    with pytest.raises(TaskError, match="a callable train"):
        dataclasses.replace(small_task, train=3)
