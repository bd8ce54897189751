"""Data that streams: without an end, without a length, read once."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import autoprune
from autoprune.errors import TaskError
from autoprune.tasks import split
from autoprune.tasks.task import SPLITS
from autoprune.testing.fakes import RecordingReporter
from tests.field.models import mlp, points

QUICK = {"budget": "params=60%", "trials": 3, "finalists": 1, "run": "r"}


class Endless(IterableDataset):
    """Samples without end."""

    def __iter__(self):
        inputs, labels = points()
        while True:
            yield from zip(inputs, labels, strict=True)


class Finite(IterableDataset):
    """Samples whose number only shows at their end."""

    def __iter__(self):
        return iter(list(zip(*points(), strict=True)))


class Overlong:
    """A loader that says how long a pass is and goes on beyond it."""

    def __len__(self):
        return 4

    def __iter__(self):
        while True:
            yield points(16)


class Once:
    """What is used up by the first pass."""

    def __init__(self):
        self.left = iter([points(16)] * 3)

    def __iter__(self):
        return self.left


def task(**splits):
    whole = {**dict.fromkeys(("train", *SPLITS), [points(64)]), **splits}
    return autoprune.Classification(mlp(), splits=whole, example_inputs=(points()[0][:2],))


def test_a_stream_without_end_is_trained_on_for_so_many_steps():
    train = DataLoader(Endless(), batch_size=16)
    reporter = RecordingReporter()
    result = autoprune.search(task(train=train), **QUICK, finetune_epochs=2, finetune_steps=3, reporter=reporter)
    assert result.best is not None
    assert not reporter.warnings


@pytest.mark.parametrize("name", ["train", "search", "test"])
def test_a_stream_without_end_or_length_is_named_before_the_search(monkeypatch, name):
    monkeypatch.setattr(split, "_MOST", 50)
    with pytest.raises(TaskError, match=rf"splits\['{name}'\] to end"):
        autoprune.search(task(**{name: DataLoader(Endless(), batch_size=16)}), **QUICK, finetune_epochs=1)


def test_a_stream_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(split, "_MOST_S", 0.0)
    with pytest.raises(TaskError, match=r"went on after 1 batches"):
        autoprune.search(task(train=DataLoader(Endless(), batch_size=16)), **QUICK, finetune_epochs=1)


@pytest.mark.parametrize("name", ["train", "calibration", "search", "validation", "test"])
def test_a_pass_ends_where_its_length_says(name):
    made = task(**{name: Overlong()})
    assert len(list(made.split(name))) == 4
    assert autoprune.search(made, **QUICK, finetune_epochs=1).best is not None


def test_a_stream_that_ends_needs_no_length():
    streams = {name: DataLoader(Finite(), batch_size=32) for name in ("train", *SPLITS)}
    result = autoprune.search(task(**streams), **QUICK, finetune_epochs=1)
    assert result.best.measurements["accuracy"].n == 128


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_source_that_does_not_come_again_is_named_before_the_search(name):
    with pytest.raises(TaskError, match=rf"splits\['{name}'\].*3 batches the first time, none the second"):
        autoprune.search(task(**{name: Once()}), **QUICK, finetune_epochs=1)


def test_a_dataset_is_reached_through_a_split_that_is_bounded():
    class Known(Overlong):
        classes = ("a", "b", "c")

    def evaluate(model, batches):
        assert batches.classes == ("a", "b", "c")
        return sum(float((model(x).argmax(1) == y).float().mean()) for x, y in batches) / len(batches)

    made = autoprune.Task("known", mlp(), (torch.zeros(2, 8),), dict.fromkeys(SPLITS, Known()), evaluate)
    assert 0 <= made.score(made.model, "test")["accuracy"].value <= 1
