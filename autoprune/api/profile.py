"""`autoprune.profile`: what one model costs on this device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.api.notebook import usual_reporter
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.rate import parse_rates
from autoprune.core.reporter import Reporter
from autoprune.engine.result import model_folder
from autoprune.measure.costs import costs_of
from autoprune.measure.setup import Setup
from autoprune.models import folder as folders
from autoprune.models.rebuild import rebuild, task_of
from autoprune.surgery.example import Outputs
from autoprune.tasks.locate import locate


def profile(
    model: nn.Module,
    example_inputs: Any,
    *,
    profiler: str = "torch",
    threads: int = 1,
    batch: int = 0,
    precision: str = "float32",
    meter: str = "",
    rates: Sequence[str] = (),
    task: str = "",
    reporter: Reporter | None = None,
    clock: Clock | None = None,
) -> dict[str, Measurement]:
    """Measure and count a model.

    Args:
        model: In any mode; it is measured in eval mode.
        example_inputs: A tensor, a tuple of arguments, or a dict of keyword arguments.
        profiler: What runs it.
        threads: Of the processor.
        batch: Size of the batch; 0 takes the inputs as they are.
        precision: That the profiler computes in.
        meter: What counts energy; empty: the profiler's own, where the device has it.
        rates: What makes other costs of measured ones, such as "carbon=350g/kWh" and "price=0.12/h".
        task: Name of the task whose model it is, so that another process can measure it; without it, profilers of torch
            modules measure in this process.
        reporter: Who is told of warnings and progress; default: the logger "autoprune".
        clock: Tells seconds; default: the system's.

    Returns:
        By key: latency in seconds with its statistics, throughput, memory, energy where it is metered, parameters,
        operations, bytes.

    Raises:
        UsageError: an unknown profiler.
        DeviceError: it cannot run the model.

    Example:
        >>> profile(model, images)["latency"].value  # doctest: +SKIP
    """
    spec = RunSpec(threads, batch, precision, meter=meter)
    setup = Setup(profiler, spec, task, rates=parse_rates(rates))
    return costs_of(model, example_inputs, setup, reporter or usual_reporter(), clock or SystemClock())


@dataclass(frozen=True)
class Subject:
    """A model that somebody named, its example inputs, and how it was measured before, if it was.

    task: its name where another process can make the very model from it; measured: profiler, threads, batch,
    precision; outputs: what of the model's outputs matters.
    """

    model: nn.Module
    inputs: Any
    task: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)
    outputs: Outputs = None


def find_subject(subject: str | Path, reporter: Reporter) -> Subject:
    """A model with its example inputs: of a task by its name, of a run (its best), or of one model's folder.

    Raises:
        StorageError: the folder holds neither, or the run has no best model.
    """
    if isinstance(subject, str):
        task = locate(subject, reporter)
        return Subject(task.model, task.example_inputs, task.spec, outputs=task.outputs)
    folder, measured = model_folder(subject)
    task = task_of(folders.read(folder)[0], folder, reporter)
    return Subject(rebuild(folder, task, reporter), task.example_inputs, measured=measured, outputs=task.outputs)
