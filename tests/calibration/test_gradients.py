import dataclasses

import pytest
import torch

from autoprune import registry
from autoprune.calibration import gradients
from autoprune.calibration.ranking import rank
from autoprune.errors import TaskError, UsageError
from autoprune.surgery import trace
from autoprune.testing.criterion import residual_task


def by_hand(task, slices):
    """z of one slice for every small batch; slices: by parameter, the index of what belongs to it."""
    found = []
    for images, labels in task.split("calibration"):
        for start in range(0, len(images), gradients.SAMPLES):
            batch = images[start : start + gradients.SAMPLES], labels[start : start + gradients.SAMPLES]
            task.model.zero_grad()
            task.loss(task.forward(task.model, batch), batch).backward()
            weights = dict(task.model.named_parameters())
            found.append(sum(float((weights[n].detach()[i] * weights[n].grad[i]).sum()) for n, i in slices.items()))
    task.model.zero_grad()
    return torch.tensor(found, dtype=torch.float64)


def test_sensitivities_are_those_of_autograd_on_each_small_batch():
    task = residual_task()
    everything = slice(None)
    z = by_hand(task, {
        "inner.weight": 3, "inner.bias": 3, "outer.weight": (everything, 3),
        "head.weight": (everything, slice((8 + 3) * 4, (8 + 4) * 4)),
    })  # fmt: skip
    traced = trace(task.model, task.example_inputs)
    scores = {
        n: rank(registry.load("criteria", n), task.model, traced, task).scores["inner"][3]
        for n in ("taylor", "fisher", "taylor2")
    }
    assert float(scores["taylor"]) == pytest.approx(float(z.abs().mean()), rel=1e-6)
    assert float(scores["fisher"]) == pytest.approx(float(z.square().mean() / 2), rel=1e-6)
    assert float(scores["taylor2"]) == pytest.approx(abs(float(z.square().mean() / 2 - z.mean())), rel=1e-6)


def test_frozen_weights_are_ranked_and_stay_frozen():
    task = residual_task()
    traced = trace(task.model, task.example_inputs)
    before = rank(registry.load("criteria", "taylor"), task.model, traced, task).scores
    task.model.requires_grad_(False)
    after = rank(registry.load("criteria", "taylor"), task.model, traced, task).scores
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(weight.requires_grad or weight.grad is not None for weight in task.model.parameters())


def test_gradients_of_zero_fall_back_by_name():
    task = dataclasses.replace(residual_task(), loss=lambda outputs, batch: outputs.sum() * 0)
    traced = trace(task.model, task.example_inputs)
    found = rank(registry.load("criteria", "taylor"), task.model, traced, task)
    magnitude = rank(registry.load("criteria", "l2"), task.model, traced, task).scores
    assert all(torch.equal(found.scores[name], magnitude[name]) for name in magnitude)
    assert len(found.notes) == 1
    assert "'taylor' sees no gradients" in found.notes[0]
    assert "ranked by l2" in found.notes[0]


def test_gradients_that_are_not_finite_are_an_error_with_a_cure():
    task = dataclasses.replace(residual_task(), loss=lambda outputs, batch: outputs.sum() * float("nan"))
    traced = trace(task.model, task.example_inputs)
    with pytest.raises(TaskError, match="nan or infinite"):
        rank(registry.load("criteria", "fisher"), task.model, traced, task)


def test_a_task_without_a_loss_is_told_so():
    task = dataclasses.replace(residual_task(), loss=None)
    traced = trace(task.model, task.example_inputs)
    with pytest.raises(TaskError, match=r"Task\(loss="):
        rank(registry.load("criteria", "taylor"), task.model, traced, task)


@pytest.mark.parametrize("name", ["taylor", "wanda", "hessian"])
def test_a_model_alone_is_not_enough_for_criteria_that_look_at_data(name):
    task = residual_task()
    with pytest.raises(UsageError, match="pass task="):
        rank(registry.load("criteria", name), task.model, trace(task.model, task.example_inputs))
