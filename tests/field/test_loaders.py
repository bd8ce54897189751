"""Loaders that take long to start, and data that is large."""

from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.errors import TaskError
from autoprune.tasks.identity import DataIdentity
from autoprune.tasks.task import SPLITS
from tests.field.models import mlp, points


class Counted:
    """A loader that counts its starts and the passes that were read."""

    def __init__(self, name, starts, passes, batches):
        self.name, self.starts, self.passes, self.batches = name, starts, passes, batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.starts[self.name] += 1
        for place, batch in enumerate(self.batches):
            self.passes[self.name] += place == 0
            yield batch


def test_loaders_are_not_started_to_be_looked_at():
    starts, passes = Counter(), Counter()
    splits = {
        name: Counted(name, starts, passes, [points(32, seed) for seed in range(4)]) for name in ("train", *SPLITS)
    }
    made = autoprune.Classification(mlp(), splits=splits, example_inputs=(points()[0][:2],))
    assert not starts
    autoprune.search(
        made, budget="params=60%", trials=6, finetune_epochs=2, finalists=2, finetune_lr=1e-3, sampler="random", run="r"
    )
    assert starts == passes
    # Each is looked at once, to be known again when the run goes on.
    # Six candidates and the dense model; two finished ones, each after its last epoch.
    assert starts["search"] <= 1 + 7 + 2 * 2
    # Of a finished model, answers are kept for its life in production.
    assert starts["validation"] <= 1 + 3 + 2
    assert starts["test"] <= 1 + 2
    # One to see whether it trains, two models of two epochs.
    assert starts["train"] <= 1 + 5


def test_a_task_knows_its_loaders_without_starting_their_workers():
    inputs, labels = points()
    loader = DataLoader(TensorDataset(inputs, labels), 32, num_workers=2)
    made = autoprune.Classification(mlp(), splits=dict.fromkeys(SPLITS, loader), example_inputs=(inputs[:2],))
    assert loader._iterator is None
    assert made.score(made.model, "search")["accuracy"].n == 128


def test_data_is_loaded_when_it_is_needed_and_once():
    loads = []

    def data():
        loads.append(1)
        return points()

    made = autoprune.Classification(mlp(), data=data, example_inputs=(torch.zeros(2, 8),))
    assert not loads
    for name in SPLITS:
        made.score(made.model, name)
    assert loads == [1]


def test_splits_may_be_loaded_each_by_itself_or_together():
    asked = []

    def loaded(name):
        asked.append(name)
        return [points(32)]

    each = {name: (lambda name=name: loaded(name)) for name in SPLITS}
    evaluate = lambda model, batches: float(len(list(batches)) > 0)  # noqa: E731
    for splits in (each, lambda: each):
        asked.clear()
        made = autoprune.Task("lazy", mlp(), (torch.zeros(2, 8),), splits, evaluate)
        assert not asked
        made.score(made.model, "search")
        assert asked == ["search"]
    assert len(list(made.split("train"))) == 1


TASK = """
import os
import torch
from torch import nn
import autoprune

def data():
    with open({counts!r}, "a") as file:
        file.write(f"data {{os.getpid()}}\\n")
    inputs = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    return inputs, inputs[:, :3].argmax(1)

def task():
    with open({counts!r}, "a") as file:
        file.write(f"task {{os.getpid()}}\\n")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    return autoprune.Classification(model, data=data, example_inputs=(torch.zeros(4, 8),))
"""


def searched(command, tmp_path, budget):
    counts = tmp_path / "counts"
    (tmp_path / "lazy.py").write_text(TASK.format(counts=str(counts)))
    code, _, err = command(
        "search", "lazy.py:task", "--budget", budget, "--trials", "3", "--finetune-epochs", "0", "--finalists", "1"
    )
    assert code == 0, err
    lines = [line.split() for line in counts.read_text().splitlines()]
    return Counter(kind for kind, _ in lines), {process for kind, process in lines if kind == "data"}


@pytest.mark.slow
def test_processes_that_measure_load_no_data(command, tmp_path):
    calls, loading = searched(command, tmp_path, "latency=1s")
    assert len(loading) == 1
    assert calls["data"] == 1
    assert calls["task"] <= 1 + 4


@pytest.mark.slow
def test_a_search_that_times_nothing_makes_the_task_once(command, tmp_path):
    calls, loading = searched(command, tmp_path, "params=60%")
    assert calls == {"task": 1, "data": 1}
    assert len(loading) == 1


class Lazy(torch.utils.data.Dataset):
    """Opens what it reads from when the first sample is asked for, as data sets of large files do."""

    def __init__(self):
        self.opened = None

    def __len__(self):
        return 32

    def __getitem__(self, place):
        self.opened = self.opened or object()
        inputs, labels = points(32)
        return inputs[place], labels[place]


@pytest.mark.parametrize("shuffle", [False, True])
def test_what_workers_open_is_not_opened_before_they_begin(shuffle):
    sets = {name: Lazy() for name in SPLITS}
    splits = {name: DataLoader(each, 16, num_workers=1, shuffle=shuffle) for name, each in sets.items()}
    made = autoprune.Classification(mlp(), splits=splits, example_inputs=(torch.zeros(2, 8),))
    for name in SPLITS:
        assert DataIdentity.of(made.split(name)).count == 2
    assert all(each.opened is None for each in sets.values())


class Pairs:
    """A batch sampler whose keys are no numbers, and that goes on without end."""

    def __len__(self):
        return 4

    def __iter__(self):
        while True:
            yield [(place, 8) for place in range(8)]


class Sized(torch.utils.data.Dataset):
    def __getitem__(self, key):
        place, size = key
        inputs, labels = points(32)
        return inputs[place][:size], labels[place]


def test_a_batch_sampler_of_ones_own_is_known_and_ends():
    loader = DataLoader(Sized(), batch_sampler=Pairs())
    made = autoprune.Classification(mlp(), splits=dict.fromkeys(SPLITS, loader), example_inputs=(torch.zeros(2, 8),))
    assert DataIdentity.of(made.split("search")).count == 4
    assert made.score(made.model, "search")["accuracy"].n == 32


def test_data_that_a_function_loads_is_sent_to_other_processes_before_it_is_loaded():
    cloudpickle = pytest.importorskip("cloudpickle")
    there = points(64)
    made = autoprune.Classification(mlp(), data=lambda: there, example_inputs=(torch.zeros(2, 8),))
    again = cloudpickle.loads(cloudpickle.dumps(made))
    assert again.score(again.model, "test")["accuracy"] == made.score(made.model, "test")["accuracy"]


@pytest.mark.parametrize(
    ("load", "words"),
    [(lambda: None, "return them by name.*NoneType"), (lambda: {}[0], r"splits\['search'\] to load.*KeyError")],
)
def test_functions_that_do_not_load_are_named(load, words):
    made = autoprune.Task("lazy", mlp(), (torch.zeros(2, 8),), load, lambda model, batches: 0.5)
    with pytest.raises(TaskError, match=words):
        made.score(made.model, "search")
