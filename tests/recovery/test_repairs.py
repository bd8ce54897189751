"""Every repair, by the registry."""

import copy
import dataclasses

import pytest
import torch

from autoprune import registry
from autoprune.api.ready import ready
from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.recovery.finetune import finetune
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.sparsity import masks, with_weights
from autoprune.testing.criterion import attention_task, residual_task

REPAIRS = registry.names("repairs")


def healed(task, repair, keep=0.5, criterion="l2", pattern=""):
    traced = trace(task.model, task.example_inputs)
    if pattern:
        traced = with_weights(task.model, traced, pattern)
    readied = ready(task.model, traced, criterion, repair, SystemClock(), task)
    plan = {}
    for group in traced.open:
        if group.kind == "weight" or (not pattern and group.kind not in ("layer", "head_dim")):
            plan[group.name] = max(round(keep * group.steps) * group.step, group.floor)
    plan = Plan.of(plan)
    slices = kept_slices(traced, readied.ranking, plan)
    kept = masks(traced, readied.ranking, plan, slices)
    model = apply(task.model, traced, slices).eval()
    readied.repair(model, slices, kept)
    return model, kept


def difference(task, model):
    """Mean square of the change of the outputs on the search split."""
    with torch.no_grad():
        pairs = [(task.forward(model, batch), task.forward(task.model, batch)) for batch in task.split("search")]
    return float(torch.cat([(own - dense).square().mean(1) for own, dense in pairs]).mean())


@pytest.mark.parametrize("make", [residual_task, attention_task])
@pytest.mark.parametrize("repair", REPAIRS)
class TestEveryRepair:
    def test_gives_the_same_finite_model_each_time_and_leaves_the_dense_one_alone(self, repair, make):
        task = make()
        before = copy.deepcopy(task.model.state_dict())
        states = [healed(task, repair)[0].state_dict() for _ in range(2)]
        for name, tensor in states[0].items():
            assert torch.isfinite(tensor).all()
            assert torch.equal(tensor, states[1][name])
        assert all(torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())
        assert not task.model.training

    def test_zeroed_weights_stay_zero(self, repair, make):
        for pattern in ("unstructured", "2:4"):
            model, kept = healed(make(), repair, pattern=pattern)
            assert kept
            for name, mask in kept.items():
                assert not model.get_parameter(name)[~mask].any()
                assert model.get_parameter(name)[mask].any()

    def test_a_calibration_split_of_one_sample_or_one_batch_is_survived(self, repair, make):
        task = make()
        for count in (1, 3):
            first = [(inputs[:count], labels[:count]) for inputs, labels in list(task.splits["calibration"])[:1]]
            small = dataclasses.replace(task, splits={**task.splits, "calibration": first})
            model, _ = healed(small, repair)
            assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    def test_nothing_to_cut_is_nothing_to_heal(self, repair, make):
        task = make()
        model, _ = healed(task, repair, keep=1.0)
        tolerance = 1e-2 if any("norm" in name for name, _ in task.model.named_buffers()) else 1e-6
        assert difference(task, model) < tolerance


@pytest.mark.parametrize("make", [residual_task, attention_task])
def test_reconstruction_comes_nearer_to_the_dense_model_and_in_sequence_nearer_still(make):
    task = make()
    found = {repair: difference(task, healed(task, repair)[0]) for repair in ("none", "reconstruct", "sequential")}
    assert found["reconstruct"] < 0.7 * found["none"]
    assert found["sequential"] < found["reconstruct"]


def test_fine_tuning_keeps_zeros():
    task = residual_task()
    model, kept = healed(task, "sequential", pattern="unstructured")
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    task = dataclasses.replace(task, splits={**task.splits, "train": task.splits["calibration"]})
    finetune(model, task, None, 2, 0, lambda text: None, kept)
    for name, mask in kept.items():
        assert not model.get_parameter(name)[~mask].any()
        assert not torch.equal(model.get_parameter(name), before[name])
