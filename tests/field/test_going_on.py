"""Runs that are gone on with: with less than they have, with other data, with another metric."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

import autoprune
from autoprune.errors import TaskError
from autoprune.tasks.identity import DataIdentity
from autoprune.tasks.split import Split
from autoprune.tasks.task import SPLITS
from autoprune.testing.fakes import RecordingReporter
from tests.conftest import stripes

QUICK = {"budget": "params=90%", "run": "r", "finetune_epochs": 0, "finalists": 1, "sampler": "random"}


def content(run="r"):
    return {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file() and path.name != "LOCK"}


def loaders(images, labels, *, seed=0, shuffle=False):
    """The splits as parts of one data set, chosen by a seed."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    whole, parts = TensorDataset(images, labels), order.chunk(len(SPLITS))
    return {
        name: DataLoader(Subset(whole, part.tolist()), 16, shuffle=shuffle)
        for name, part in zip(SPLITS, parts, strict=True)
    }


def with_data(task, splits):
    return dataclasses.replace(task, splits=splits)


@pytest.mark.parametrize(
    "asked", [{"trials": 3}, {"trials": 5}, {"trials": 5, "timeout": "1m"}, {"deadline": "1m"}, {}]
)
def test_a_finished_run_that_is_asked_for_no_more_is_left_as_it_is(small_task, asked):
    ended = autoprune.search(small_task, trials=5, **QUICK)
    before, reporter = content(), RecordingReporter()
    unread = dataclasses.replace(small_task, evaluate=lambda model, split: 1 / 0)
    again = autoprune.resume("r", task=unread, reporter=reporter, **asked)
    assert content() == before
    assert again.best.plan == ended.best.plan
    assert len(reporter.notes) == 1


def test_a_finished_run_in_which_nothing_new_is_found_keeps_its_front(small_task):
    autoprune.search(small_task, trials=100, **QUICK)
    before, reporter = Path("r/front.json").read_bytes(), RecordingReporter()
    autoprune.resume("r", task=small_task, trials=200, reporter=reporter)
    assert Path("r/front.json").read_bytes() == before
    assert any("nothing new" in note for note in reporter.notes)
    autoprune.resume("r", task=small_task, reporter=reporter)
    assert any("has ended" in note for note in reporter.notes)


def test_splits_by_another_seed_are_refused(small_task):
    data = stripes()
    autoprune.search(with_data(small_task, loaders(*data)), trials=4, **QUICK)
    front = Path("r/front.json").read_bytes()
    same = with_data(small_task, loaders(*data, shuffle=True))  # an order that changes makes no other data
    autoprune.resume("r", task=same, trials=5)
    assert Path("r/front.json").read_bytes() != front
    front = Path("r/front.json").read_bytes()
    with pytest.raises(TaskError, match=r"splits\['search'\].*search anew"):
        autoprune.resume("r", task=with_data(small_task, loaders(*data, seed=1)), trials=6)
    with pytest.raises(TaskError, match=r"splits\['search'\].*49 and not 50"):
        fewer = with_data(small_task, loaders(*(each[:-4] for each in data)))
        autoprune.resume("r", task=fewer, trials=6)
    assert Path("r/front.json").read_bytes() == front


def test_other_data_to_learn_from_is_told(small_task):
    data = stripes()
    autoprune.search(with_data(small_task, loaders(*data)), trials=4, **QUICK)
    reporter, other = RecordingReporter(), loaders(*data)
    other["calibration"] = loaders(*stripes(seed=3))["calibration"]
    autoprune.resume("r", task=with_data(small_task, other), trials=5, reporter=reporter)
    assert any("splits['calibration']" in warning for warning in reporter.warnings)


def test_another_metric_of_the_same_name_is_refused(small_task):
    autoprune.search(small_task, trials=4, **QUICK)

    def harder(model, split):
        found = small_task.evaluate(model, split)
        return {name: dataclasses.replace(each, value=each.value * 0.9, low=0, high=1) for name, each in found.items()}

    with pytest.raises(TaskError, match="the accuracy that the dense model had"):
        autoprune.resume("r", task=dataclasses.replace(small_task, evaluate=harder), trials=5)


def test_a_metric_that_is_another_one_each_time_is_told_and_gone_on_with(small_task):
    draws = (each % 89 / 100 for each in itertools.count())
    noisy = dataclasses.replace(small_task, evaluate=lambda model, split: next(draws), metrics=small_task.metrics[:1])
    autoprune.search(noisy, trials=4, **QUICK)
    reporter = RecordingReporter()
    autoprune.resume("r", task=noisy, trials=5, reporter=reporter)
    assert any("another one each time" in warning for warning in reporter.warnings)


@dataclasses.dataclass
class Sample:
    text: str
    values: object
    further: object = None


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(3), torch.tensor(2, dtype=torch.bfloat16), {"a": torch.ones(2), "b": ["x", None, 2.5]},
        ([1, "two"], b"three"), Sample("a", [1, 2], object()), torch.zeros(2, 2).to_sparse(),
    ],
)  # fmt: skip
def test_batches_of_all_kinds_are_known_again(batch):
    found = [DataIdentity.of(Split("search", [batch, batch])) for _ in range(2)]
    assert found[0] == found[1]
    other = DataIdentity.of(Split("search", [batch, [batch]]))
    assert other != found[0]


def test_to_look_at_data_draws_no_random_numbers(small_task):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    from autoprune.tasks.identity import undisturbed

    with undisturbed():
        torch.rand(5)
    assert torch.equal(torch.rand(1), expected)
