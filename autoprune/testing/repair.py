"""What every repair must do. Inherit `RepairConformance` in a test class and set `name`."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import masks, with_weights
from autoprune.tasks.task import Task
from autoprune.testing.criterion import attention_task, residual_task


def repaired(
    task: Task, repair: str, *, keep: float = 0.5, criterion: str = "l2", pattern: str = ""
) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """The task's model with a share of every group, or of every weight where there is a pattern; its masks."""
    traced = trace(task.model, task.example_inputs)
    traced = with_weights(task.model, traced, pattern) if pattern else traced
    calibrated = calibrate(task.model, traced, criterion=criterion, repair=repair, clock=SystemClock(), task=task)
    cut = [group for group in traced.open if group.kind != "layer" and (group.kind == "weight") == bool(pattern)]
    plan = Plan.of({group.name: max(round(keep * group.steps) * group.step, group.floor) for group in cut})
    slices = kept_slices(traced, calibrated.ranking, plan)
    kept = masks(traced, calibrated.ranking, plan, slices)
    model = apply(task.model, traced, slices).eval()
    calibrated.repair(CutModel(model, plan, slices, kept))
    return model, kept


def difference(task: Task, model: nn.Module) -> float:
    """Mean square of the change of the outputs on the search split."""
    with torch.no_grad():
        pairs = [(task.forward(model, batch), task.forward(task.model, batch)) for batch in task.split("search")]
    return float(torch.cat([(own - dense).square().mean(1) for own, dense in pairs]).mean())


class RepairConformance:
    """A repair gives the same finite model each time, leaves the dense one alone, and zeros where they are."""

    name: str

    @staticmethod
    def tasks() -> list[Task]:
        return [residual_task(), attention_task()]

    def test_the_same_finite_model_each_time_and_the_dense_one_as_it_was(self) -> None:
        for task in self.tasks():
            before = copy.deepcopy(task.model.state_dict())
            states = [repaired(task, self.name)[0].state_dict() for _ in range(2)]
            for name, tensor in states[0].items():
                assert torch.isfinite(tensor).all()
                assert torch.equal(tensor, states[1][name])
            assert all(torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())
            assert not task.model.training

    def test_zeroed_weights_stay_zero(self) -> None:
        for task in self.tasks():
            for pattern in ("unstructured", "2:4"):
                model, kept = repaired(task, self.name, pattern=pattern)
                assert kept
                for name, mask in kept.items():
                    assert not model.get_parameter(name)[~mask].any()
                    assert model.get_parameter(name)[mask].any()

    def test_a_calibration_split_of_one_sample_or_one_batch_is_survived(self) -> None:
        for task in self.tasks():
            for count in (1, 3):
                first = [(inputs[:count], labels[:count]) for inputs, labels in list(task.split("calibration"))[:1]]
                small = task.with_split("calibration", first)
                model, _ = repaired(small, self.name)
                assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    def test_nothing_to_cut_is_nothing_to_repair(self) -> None:
        for task in self.tasks():
            model, _ = repaired(task, self.name, keep=1.0)
            normalised = any("running" in name for name, _ in task.model.named_buffers())
            assert difference(task, model) < (1e-2 if normalised else 1e-6)
