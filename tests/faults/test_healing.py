"""What calibration data and models may throw at criteria and repairs."""

import dataclasses
import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune import registry
from autoprune.api.ready import ready
from autoprune.core.clock import SystemClock
from autoprune.errors import UsageError
from autoprune.surgery import apply, kept_slices, trace
from autoprune.testing.criterion import residual_task, task_of

QUICK = {"trials": 5, "epochs": 0, "finalists": 1}


def finite(model):
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


@pytest.mark.parametrize("criterion", registry.names("criteria"))
def test_a_singular_hessian_and_a_group_of_one_channel_are_survived(criterion):
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 6, 1), nn.Linear(6, 5)

        def forward(self, x):
            return self.head(torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3)))

    torch.manual_seed(0)
    task = task_of(Narrow(), 1, 5, 5)
    constant = [(torch.ones_like(inputs), labels) for inputs, labels in task.splits["calibration"]]
    task = dataclasses.replace(task, splits={**task.splits, "calibration": constant})
    traced = trace(task.model, task.example_inputs)
    for repair in registry.names("repairs"):
        readied = ready(task.model, traced, criterion, repair, SystemClock(), task)
        slices = kept_slices(traced, readied.ranking, autoprune.Plan.of({"two": 3}))
        cut = apply(task.model, traced, slices)
        readied.repair(cut, slices, {})
        assert finite(cut)


def test_inputs_that_are_nan_are_named_and_nothing_becomes_nan():
    task = residual_task()
    broken = [(inputs * float("nan"), labels) for inputs, labels in task.splits["calibration"]]
    task = dataclasses.replace(task, splits={**task.splits, "calibration": broken})
    traced = trace(task.model, task.example_inputs)
    readied = ready(task.model, traced, "hessian", "sequential", SystemClock(), task)
    assert any("not finite" in note and "inner.weight" in note for note in readied.notes)
    assert any("ranked by l2" in note for note in readied.notes)
    slices = kept_slices(traced, readied.ranking, autoprune.Plan.of({"inner": 6}))
    cut = apply(task.model, traced, slices)
    readied.repair(cut, slices, {})
    assert all(bool(torch.isfinite(weight).all()) for weight in cut.parameters())


def test_zeroed_weights_are_no_way_to_a_latency_budget(small_task):
    with pytest.raises(UsageError, match=r"'torch' does not run unstructured zeros faster.*size=30%"):
        autoprune.search(small_task, "latency=50%", space="unstructured", run="r", **QUICK)


def test_a_search_over_zeros_meets_a_budget_of_size_with_the_file_itself(small_task, tmp_path):
    result = autoprune.search(small_task, "size=40%", space="unstructured", run="r", trials=8, epochs=1, finalists=1)
    assert result.best is not None
    dense = result.document["dense"]["metrics"]["size"]["value"]
    file = tmp_path / "r" / "models" / str(result.best.trial) / "model.safetensors"
    assert file.stat().st_size <= 0.4 * dense
    assert file.stat().st_size == result.best.measurements["size"].value
    model = result.best.load()
    assert autoprune.masks(model)
    assert model(small_task.example_inputs[0]).shape == (4, 3)
    assert "stored as" in (file.parent / "README.md").read_text()
    assert json.loads((file.parent / "plan.json").read_text())["plan"]


def test_prune_zeroes_heals_and_scopes_without_a_search(small_task):
    x = small_task.example_inputs
    zeroed = autoprune.prune(small_task.model, x, 0.5, pattern="2:4", task=small_task, criterion="wanda")
    weight = zeroed.model.conv2.weight.movedim(1, -1).unflatten(-1, (-1, 4))
    assert ((weight != 0).sum(-1) == 2).all()
    assert zeroed.after["size"].value < 0.7 * zeroed.before["size"].value
    cut = autoprune.prune(small_task.model, x, 0.5, scope="global", criterion="taylor", task=small_task)
    kept = sum(cut.plan.kept.values()) / sum(group.size for group in cut.traced.open if group.kind != "layer")
    assert kept == pytest.approx(0.5, abs=0.1)
    with pytest.raises(UsageError, match="pass task="):
        autoprune.prune(small_task.model, x, 0.5, repair="sequential")
    with pytest.raises(UsageError, match="pattern='unstructured'"):
        autoprune.prune(small_task.model, x, 0.5, scope="global", pattern="2:4")
