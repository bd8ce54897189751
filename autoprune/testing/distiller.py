"""What every distiller must do. Inherit `DistillerConformance` in a test class and set `name`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune import registry
from autoprune.core.plan import Plan
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.teacher import Teacher
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced, apply, kept_slices, trace, twin
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task
from autoprune.testing.criterion import attention_task, residual_task


def half(task: Task) -> tuple[CutModel, Traced]:
    """The task's model with the last half of every group of slices."""
    traced = trace(task.model, task.example_inputs)
    cut = [group for group in traced.open if group.kind != "layer"]
    plan = Plan.of({group.name: max(group.steps // 2 * group.step, group.step, group.floor) for group in cut})
    slices = kept_slices(traced, {group.name: torch.arange(group.size) for group in cut}, plan)
    return CutModel(apply(task.model, traced, slices).eval(), plan, slices), traced


def distance(teacher: Teacher, student: CutModel, task: Task, batch: Any) -> Tensor:
    """How far the student is from the teacher, in the mode that it is in.

    Raises:
        ValueError: nothing compares.
    """
    with teacher.watching(student.model, batch) as at:
        outputs = task.forward(student.model, batch)
    found = [measure() for _, _, measure in teacher.distances(student, outputs, at, batch)]
    if any(each is None for each in found):
        raise ValueError("nothing compares")
    return torch.stack([each for each in found if each is not None]).sum()


class DistillerConformance:
    """A model is at no distance from itself; descending brings a smaller one closer, and leaves both clean of hooks."""

    name: str

    @pytest.fixture(params=[residual_task, attention_task])
    def task(self, request: pytest.FixtureRequest) -> Task:
        """Small models of convolutions and of tokens."""
        make: Callable[[], Task] = request.param
        return make()

    def teacher(self, task: Task, traced: Traced) -> Teacher:
        """Who is asked by this distiller alone."""
        return Teacher(task, {self.name: 1.0}, traced)

    def test_it_says_what_it_compares(self) -> None:
        assert registry.load("distillers", self.name).NEEDS

    def test_a_model_is_at_no_distance_from_itself(self, task: Task) -> None:
        same = CutModel(twin(task.model, meta=False)[0].eval())
        teacher = self.teacher(task, trace(task.model, task.example_inputs))
        batch = next(iter(task.batches("train")))
        assert float(distance(teacher, same, task, batch).detach()) == pytest.approx(0, abs=1e-9)

    def test_descending_it_brings_a_smaller_model_closer(self, task: Task) -> None:
        student, traced = half(task)
        teacher, batch = self.teacher(task, traced), next(iter(task.batches("train")))
        first = distance(teacher, student, task, batch)
        assert math.isfinite(float(first.detach()))
        assert float(first.detach()) >= 0
        if not first.requires_grad:
            assert float(first) == 0
            return
        weights = list(student.model.parameters())
        optimizer = torch.optim.Adam(weights, 1e-3)
        for _ in range(10):
            optimizer.zero_grad()
            torch.autograd.backward(distance(teacher, student, task, batch))
            optimizer.step()
        assert all(weight.grad is None for weight in task.model.parameters())
        assert float(distance(teacher, student, task, batch).detach()) < float(first.detach())

    def test_an_answer_from_memory_is_the_same_to_the_bit(self, task: Task) -> None:
        student, traced = half(task)
        batch = next(iter(task.batches("train")))
        teacher = self.teacher(task, traced)
        found = [distance(each, student, task, batch) for each in (teacher, teacher, self.teacher(task, traced))]
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])

    def test_models_are_left_as_they_were(self, task: Task) -> None:
        student, traced = half(task)
        names = [(name, value.shape) for name, value in student.model.state_dict().items()]
        dense = copy.deepcopy(task.model.state_dict())
        options = TrainingOptions(epochs=1, rate=1e-3, distill=self.name)
        training = Training(student, task, Teacher.of(task, options, traced), options, 0)
        assert math.isfinite(training.epoch())
        assert [(name, value.shape) for name, value in student.model.state_dict().items()] == names
        for model in (student.model, task.model):
            assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert all(torch.equal(value, dense[name]) for name, value in task.model.state_dict().items())

    def test_one_sample_is_survived(self, task: Task) -> None:
        student, traced = half(task)
        inputs, labels = next(iter(task.batches("train")))
        one = task.with_split("train", [(inputs[:1], labels[:1])])
        options = TrainingOptions(epochs=1, rate=1e-3, distill=self.name)
        training = Training(student, one, Teacher.of(one, options, traced), options, 0)
        with evaluating(student.model):
            assert math.isfinite(training.step((inputs[:1], labels[:1])))
