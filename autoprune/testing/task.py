"""What every named task must do. Inherit `TaskConformance` in a test class and set `name`, or override `made`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autoprune import registry
from autoprune.core.reporter import Silent
from autoprune.surgery import trace
from autoprune.surgery.example import Example
from autoprune.tasks.task import SPLITS, Task


class TaskConformance:
    """The same model each time, scores within bounds, something to cut, and where there is a loss one that trains."""

    name: str

    def made(self) -> Task:
        """The task, as another process would make it."""
        task: Task = registry.load("tasks", self.name).task(Silent())
        return task

    def test_it_has_the_same_weights_each_time(self) -> None:
        first, second = (self.made().model.state_dict() for _ in range(2))
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[name]) for name, value in first.items() if isinstance(value, Tensor))

    def test_its_model_takes_the_example_inputs_and_something_in_it_may_be_cut(self) -> None:
        task = self.made()
        example = Example.of(task.example_inputs)
        with torch.no_grad():
            task.model(*example.args, **example.kwargs)
        assert trace(task.model, task.example_inputs).open

    def test_every_split_has_batches_and_the_dense_model_scores_within_bounds(self) -> None:
        task = self.made()
        for split in SPLITS:
            with torch.no_grad():
                task.forward(task.model, next(iter(task.split(split))))
        scored = task.score(task.model, "calibration")
        assert [metric.name for metric in task.metrics] == list(scored)
        for metric in task.metrics:
            assert metric.low <= scored[metric.name].value <= metric.high

    def test_a_batch_can_be_trained_on_where_there_is_a_loss(self) -> None:
        task = self.made()
        if task.loss is None:
            return
        batch = next(iter(task.split("train")))
        loss = task.loss(task.forward(task.model, batch), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        assert math.isfinite(float(loss.detach()))
        assert any(weight.grad is not None and weight.grad.any() for weight in task.model.parameters())
