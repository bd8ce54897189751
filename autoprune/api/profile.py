"""`autoprune.profile`: what one model costs on this device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from autoprune import registry
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.reporter import Reporter
from autoprune.errors import StorageError
from autoprune.measure.counts import counts
from autoprune.measure.lock import device_lock
from autoprune.measure.session import Session
from autoprune.models import folder as folders
from autoprune.models.rebuild import rebuild
from autoprune.store.run import read_front
from autoprune.surgery.modes import evaluating
from autoprune.tasks.locate import locate
from autoprune.tasks.task import batch_size, rebatch


def profile(
    model: nn.Module,
    example_inputs: Any,
    *,
    profiler: str = "torch",
    threads: int = 1,
    batch: int = 0,
    clock: Clock | None = None,
) -> dict[str, Measurement]:
    """Latency with its statistics, throughput, parameters, operations and size of a model, by key.

    batch: 0 takes the inputs as they are.

    Raises:
        UsageError: an unknown profiler. DeviceError: it cannot run the model.
    """
    spec = RunSpec(threads, batch)
    inputs = rebatch(example_inputs, batch)
    runner = registry.load("profilers", profiler).create(spec, clock or SystemClock())
    lock = device_lock(runner.fingerprint(), runner.capabilities().exclusive)
    session = Session(runner, spec, lock, inputs, batch_size(inputs), seed=0)
    with evaluating(model):
        try:
            measured = session.open(model)
        finally:
            runner.close()
        counted = counts(model, inputs)
    return {**{key: found for key, found in measured.items() if key != "latency.relative"}, **counted}


def find_model(subject: str | Path, reporter: Reporter) -> tuple[nn.Module, Any]:
    """A model with its example inputs: of a task by its name, of a run (its best), or of one model's folder.

    Raises:
        StorageError: the folder holds neither, or the run has no best model.
    """
    if isinstance(subject, str):
        task = locate(subject, reporter)
        return task.model, task.example_inputs
    folder = subject
    if not (subject / folders.PLAN).is_file():
        best = read_front(subject)["best"]
        if best is None:
            raise StorageError(
                expected=f"a run with a best model in {subject}",
                received="none met its budget",
                cure="give the folder of one of its models",
            )
        folder = subject / "models" / str(best)
    task = locate(folders.read(folder)[0].task, reporter)
    return rebuild(folder, task, reporter), task.example_inputs
