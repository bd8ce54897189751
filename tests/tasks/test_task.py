import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import autoprune
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.errors import TaskError
from autoprune.finetuning.check import check_training
from autoprune.tasks.arrays import Batches, divide
from autoprune.tasks.scores import wilson
from autoprune.tasks.task import SPLITS, rebatch

ARRAYS = (np.zeros((60, 4), dtype=np.float32), np.arange(60) % 3)


def test_one_data_set_is_split_into_disjoint_parts():
    parts = divide(torch.arange(100), torch.zeros(100), 0)
    seen = torch.cat([inputs for inputs, _ in parts.values()])
    assert sorted(seen.tolist()) == list(range(100))
    assert set(parts) == {"train", *SPLITS}


@pytest.mark.parametrize(
    "returned", [None, "0.9", torch.tensor([0.9, 0.8]), [0.9], True, {}, {"other": 0.5}, {"accuracy": None}]
)
def test_what_is_not_a_number_is_refused_and_the_function_named(small_task, returned):
    def my_metric(model, split):
        return returned

    with pytest.raises(TaskError, match="my_metric.*test_task.py"):
        dataclasses.replace(small_task, evaluate=my_metric).score(small_task.model, "search")


@pytest.mark.parametrize(
    "score",
    [
        torch.tensor(0.5),
        np.float32(0.5),
        Measurement("accuracy", np.float32(0.5), "1", np.float32(0.4), np.float32(0.6)),
    ],
)
def test_numbers_of_other_libraries_become_plain_ones(small_task, score):
    task = dataclasses.replace(small_task, evaluate=lambda model, split: {"accuracy": score, "loss": 1})
    found = task.score(small_task.model, "search")["accuracy"]
    assert found.value == 0.5
    json.dumps(found.to_json())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.01, -0.1])
def test_scores_out_of_range_are_refused(small_task, value):
    with pytest.raises(TaskError, match="between 0 and 1"):
        dataclasses.replace(small_task, evaluate=lambda model, split: value).score(small_task.model, "search")


@pytest.mark.parametrize("low", [math.nan, -math.inf])
def test_intervals_without_numbers_are_refused(small_task, low):
    score = {"accuracy": Measurement("accuracy", 0.5, "1", low, 0.6)}
    task = dataclasses.replace(small_task, evaluate=lambda model, split: score, metrics=small_task.metrics[:1])
    with pytest.raises(TaskError, match=f"between 0 and 1.*0.5 {low} 0.6"):
        task.score(task.model, "search")


def test_a_float_and_a_dict_are_both_scores(small_task):
    metrics = (Metric("accuracy", "1", lower_is_better=False, high=1.0), Metric("error", "1", lower_is_better=True))
    task = dataclasses.replace(small_task, evaluate=lambda model, split: {"accuracy": 0.5, "error": 2}, metrics=metrics)
    assert {key: found.value for key, found in task.score(task.model, "test").items()} == {"accuracy": 0.5, "error": 2}
    alone = dataclasses.replace(small_task, evaluate=lambda model, split: 0.25, metrics=metrics[:1])
    assert alone.score(alone.model, "test")["accuracy"].split == "test"


@pytest.mark.parametrize(
    "options",
    [
        {"data": (np.zeros((0, 4)), np.zeros(0))}, {"data": (np.zeros((1, 4)), np.zeros(1))}, {"data": (np.zeros((9, 4)), np.zeros(8))},
        {"data": 3}, {}, {"data": ARRAYS, "splits": {}}, {"splits": {"calibration": ARRAYS}}, {"splits": {"search": ARRAYS}},
        {"splits": dict.fromkeys(SPLITS, [])}, {"splits": {**dict.fromkeys(SPLITS, ARRAYS), "test": iter([ARRAYS])}},
    ],
)  # fmt: skip
def test_empty_unequal_missing_and_one_shot_data_is_refused(options):
    with pytest.raises(TaskError, match="expected"):
        autoprune.Classification(nn.Linear(4, 3), **options)


@pytest.mark.parametrize(
    "labels", [torch.rand(60), torch.nn.functional.one_hot(torch.arange(60) % 3), torch.zeros(60, 3)]
)
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(TaskError, match="class of each sample.*argmax"):
        autoprune.Classification(nn.Linear(4, 3), data=(torch.rand(60, 4), labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_inputs_are_of_the_kind_that_the_model_computes_in(dtype):
    data = (torch.rand(60, 4).numpy(), (torch.arange(60) % 3).float())
    task = autoprune.Classification(nn.Linear(4, 3).to(dtype), data=data)
    assert task.score(task.model, "test")["loss"].value > 0
    assert task.example_inputs[0].dtype == dtype


def test_loaders_are_taken_as_they_are():
    data = torch.utils.data.TensorDataset(torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64))
    loader = torch.utils.data.DataLoader(data, 4)
    task = autoprune.Classification(nn.Linear(4, 3), splits=dict.fromkeys(SPLITS, loader))
    assert task.score(task.model, "test")["accuracy"].n == 8
    assert task.example_inputs[0].shape == (1, 4)


def test_something_else_than_a_module_is_refused():
    with pytest.raises(TaskError, match="Module"):
        autoprune.Task("t", "model", (1,), {}, len)
    with pytest.raises(TaskError, match="Module"):
        autoprune.Classification(abs, data=(torch.rand(60, 4), torch.arange(60) % 3))


def test_a_metric_may_not_take_the_name_of_a_cost(small_task):
    with pytest.raises(TaskError, match="latency"):
        dataclasses.replace(small_task, metrics=(Metric("latency", "s", lower_is_better=True),))


def test_a_single_last_sample_joins_the_batch_before_it():
    inputs = torch.arange(65)
    sizes = [len(part) for part, _ in Batches(inputs, inputs, 64)]
    assert sizes == [65]
    assert len(Batches(inputs, inputs, 64)) == 1
    assert [len(part) for part, _ in Batches(inputs, inputs, 30)] == [30, 30, 5]
    assert [len(part) for part, _ in Batches(inputs[:1], inputs[:1], 64)] == [1]


def test_intervals_of_proportions_hold_the_truth():
    rng = np.random.default_rng(0)
    held = [low <= 0.97 <= high for low, high in (wilson(int(hits), 300) for hits in rng.binomial(300, 0.97, 500))]
    assert np.mean(held) > 0.92
    assert wilson(300, 300)[1] == 1.0


def test_inputs_are_brought_to_another_batch_size():
    inputs = (torch.arange(6).view(3, 2), {"mask": torch.ones(3), "scale": 2.0}, torch.tensor(1))
    larger = rebatch(inputs, 7).args
    assert larger[0].shape == (7, 2)
    assert larger[1]["mask"].shape == (7,)
    assert torch.equal(larger[0][3], inputs[0][0])
    assert rebatch(inputs, 0).args == inputs
    assert rebatch({"x": torch.ones(2, 3)}, 5).kwargs["x"].shape == (5, 3)


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"loss": lambda output, batch: output.sum() * math.nan}, "received nan"),
        ({"loss": lambda output, batch: 1.0}, "received float"),
        ({"loss": lambda output, batch: batch["nokey"]}, "received TypeError"),
        ({"distance": lambda output, dense: output}, "Task.distance .* shape"),
        ({"forward": lambda model, batch: model(batch)}, "Task.forward"),
    ],
)
def test_what_a_model_cannot_be_trained_with_is_named(small_task, changes, received):
    with pytest.raises(TaskError, match=received):
        check_training(dataclasses.replace(small_task, **changes))


def test_a_loss_may_differentiate(small_task):
    def penalty(output, batch):
        return torch.autograd.grad(output.sum(), output, create_graph=True)[0].sum() + output.sum()

    check_training(dataclasses.replace(small_task, loss=penalty))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forward": None}, "callable forward"),
        ({"loss": 3}, "callable loss"),
        ({"metrics": ("rmse",)}, "autoprune.Metric"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(small_task, changes, words):
    with pytest.raises(TaskError, match=words):
        dataclasses.replace(small_task, **changes)


def test_a_task_is_shown_in_short(small_task):
    assert len(repr(small_task)) < 2000
