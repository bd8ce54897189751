"""A few steps towards the dense model's answers, which look at no labels."""

import dataclasses

import pytest
import torch

import autoprune
from autoprune.errors import TaskError, UsageError
from autoprune.testing.criterion import attention_task
from autoprune.testing.repair import difference, repaired


def distilled(task, keep=0.3):
    return autoprune.prune(task.model, task.example_inputs, keep, repair="distill", task=task).model


def parameters(model):
    return [weight.detach() for weight in model.parameters()]


def test_steps_lead_nearer_to_the_dense_model():
    task = attention_task()
    found = {repair: difference(task, repaired(task, repair, keep=0.3)[0]) for repair in ("sequential", "distill")}
    assert found["distill"] < 0.9 * found["sequential"]


def test_labels_are_not_looked_at():
    task = attention_task()
    wrong = [(inputs, torch.zeros_like(labels)) for inputs, labels in task.split("train")]
    other = distilled(dataclasses.replace(task.with_split("train", wrong), loss=None))
    assert all(torch.equal(*pair) for pair in zip(*map(parameters, (distilled(task), other)), strict=True))


def test_weights_that_took_no_gradients_are_descended_on_and_take_none_afterwards():
    task = attention_task()
    task.model.requires_grad_(False)
    models = [repaired(task, repair)[0] for repair in ("distill", "sequential")]
    assert not any(torch.equal(*pair) for pair in zip(*map(parameters, models), strict=True))
    assert not any(weight.requires_grad or weight.grad is not None for weight in models[0].parameters())
    assert not any(weight.requires_grad for weight in task.model.parameters())


def test_what_leads_away_on_samples_held_out_is_taken_back():
    task = attention_task()
    (batch,) = task.split("train")
    inputs = batch[0].clone()
    inputs[24:] *= 1e3  # the first fifth is held out
    astray = task.with_split("train", [(inputs, batch[1])])
    models = [repaired(each, repair)[0] for each, repair in ((astray, "distill"), (task, "sequential"))]
    outputs = [task.forward(model, (batch[0][:24],)) for model in (*models, task.model)]
    assert task.distance(outputs[0], outputs[2]) <= task.distance(outputs[1], outputs[2])


@pytest.mark.parametrize("count", [1, 2])
def test_answers_that_are_no_numbers_leave_the_model_as_sequential_did(count):
    task = attention_task()
    (batch,) = task.split("train")
    nowhere = [(torch.full_like(batch[0], torch.nan), batch[1])]
    given = task.with_split("train", [batch, *nowhere] if count == 2 else nowhere)
    models = [repaired(given, repair)[0] for repair in ("distill", "sequential")]
    assert all(torch.equal(*pair) for pair in zip(*map(parameters, models), strict=True))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"distance": None}, UsageError, "without distance="),
        ({"teach": lambda model, batch: None}, UsageError, "with teach="),
        ({"distance": lambda own, dense: (own - dense).detach().sum()}, TaskError, "a gradient of Task.distance"),
        ({"distance": lambda own, dense: own - dense}, TaskError, "a gradient of Task.distance"),
    ],
)
def test_what_cannot_be_descended_on_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        distilled(dataclasses.replace(attention_task(), **change))


def test_batches_that_cannot_be_divided_are_held_out_whole():
    task = attention_task()
    (batch,) = task.split("train")
    whole = [{"x": batch[0][start : start + 30], "from": str(start)} for start in range(0, 120, 30)]
    named = dataclasses.replace(
        task, forward=lambda model, batch: model(batch["x"] if isinstance(batch, dict) else batch[0])
    )
    before, after = (
        difference(task, repaired(named.with_split("train", whole), repair, keep=0.3)[0])
        for repair in ("sequential", "distill")
    )
    assert after < 0.9 * before
    with pytest.raises(TaskError, match="shows no two samples"):
        distilled(named.with_split("train", whole[:1]))
