"""The dense model as it is run, held against itself in float32. Knows floors; not candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.core.judgement import excesses
from autoprune.core.measurement import FULL, QUANTISED, Measurement
from autoprune.core.reporter import Reporter
from autoprune.deployment.as_run import as_run
from autoprune.errors import DeviceError
from autoprune.measure.any_device import AnyDevice
from autoprune.surgery.cut_model import CutModel
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class DenseAsRun:
    """model: called as the task's; scores: on the search split; as_run: whether they are those of what is timed."""

    model: nn.Module = field(repr=False)
    scores: Mapping[str, Measurement]
    as_run: bool = True


def dense_as_run(task: Task, device: AnyDevice, budget: Budget, reporter: Reporter) -> DenseAsRun:
    """Score the dense model as the device runs it, and tell what its precision costs before anything is cut.

    Args:
        task: With the model.
        device: That is open, where it runs in another precision than float32.
        budget: With floors under qualities.
        reporter: Told of qualities that change; warned of those that fall through a floor, and where models are scored
            in float32 all the same, as the runtime is not on this machine.

    Raises:
        TaskError: it is not scored. DeviceError: it cannot be quantised.
    """
    precision = device.setup.spec.precision
    scored = task.score(task.model, "search")
    if precision == FULL:
        return DenseAsRun(task.model, scored)
    try:
        model = as_run(CutModel(task.model), device)
    except DeviceError as error:
        if precision == QUANTISED or device.setup.address is None:
            raise
        reporter.warn(f"models are scored in float32, as {device.setup.profiler} is not on this machine: {error}")
        return DenseAsRun(task.model, scored, as_run=False)
    found = task.score(model, "search")
    floors = tuple(limit for limit in budget.limits if not limit.is_cost)
    broken = excesses(replace(budget, limits=floors), found, scored)
    for metric in task.metrics:
        now, before = (quantity.show(each[metric.name].value, metric.unit) for each in (found, scored))
        text = f"the dense model's {metric.name} is {now} in {precision}, {before} in float32"
        if broken.get(metric.name, 0.0) > 0:
            reporter.warn(f"{text}: that alone falls through the floor")
        elif now != before:
            reporter.note(text)
    return DenseAsRun(model, found)
