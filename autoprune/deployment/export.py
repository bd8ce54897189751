"""One model in one format: written, opened again, run in its runtime, compared with torch, timed. Knows the order, and
that nothing of an export is there before all of it holds; not what a format is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from autoprune import registry
from autoprune.bench.artifact import Artifact
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.deployment import card
from autoprune.deployment.card import Exported
from autoprune.deployment.comparison import TOLERANCES, difference
from autoprune.deployment.deployed import Deployed, given
from autoprune.deployment.timing import bench_here, measured
from autoprune.errors import DeviceError, UsageError
from autoprune.exporters import Format, Subject, Written
from autoprune.profilers import Profiler
from autoprune.store.files import partial_folder, storing
from autoprune.surgery import twin
from autoprune.surgery.example import Example
from autoprune.tasks.task import batch_size, rebatch

_EXAMPLE: Final = "the example inputs"


def format_of(name: str, precision: str = "float32") -> Format:
    """The module of a format.

    Raises:
        UsageError: no such format, one that is not deployed, or a precision that it has not.
        DeviceError: its library is missing.
    """
    found: Any = registry.load("exporters", name)
    if not hasattr(found, "write"):
        raise UsageError(
            expected="a format that is deployed",
            received=f"'{name}', which profilers alone take",
            cure="choose another",
        )
    if precision not in found.PRECISIONS:
        known = ", ".join(found.PRECISIONS)
        raise UsageError(expected=f"a precision of '{name}'", received=f"'{precision}'", cure=f"known: {known}")
    module: Format = found
    return module


def _called(model: nn.Module, example: Example) -> Any:
    return example.fresh().call(model)


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """On what an export is compared with torch, and how it is timed.

    Attributes:
        batches: Of the calibration split; None to compare on the example inputs alone.
        forward: (model, batch) -> outputs.
        task: Name of the task whose split that is.
        threads: Of the processor.
        timed: Whether it is timed.
        clock: Tells seconds.
    """

    batches: Iterable[Any] | None = None
    forward: Callable[[nn.Module, Any], Any] = _called
    task: str = ""
    threads: int = 1
    timed: bool = True
    clock: Clock = field(default_factory=SystemClock)


def export(subject: Subject, name: str, folder: Path, check: Acceptance) -> Exported:
    """Write a model in one format into a new folder; nothing is left there where that fails.

    Args:
        subject: The model.
        name: Of the format.
        folder: That is not there yet.
        check: How it is compared and timed.

    Returns:
        Its card, which lies in the folder, too.

    Raises:
        UsageError: an unknown format, precision or opset, or the folder is there.
        DeviceError: a library is missing, the model cannot be expressed or run, or computes something else.
        StorageError: the folder cannot be written.
    """
    check_new(folder)
    form = format_of(name, subject.precision)
    spec = RunSpec(check.threads, 0, subject.precision)
    profiler: Profiler = registry.load("profilers", form.PROFILER).create(spec, check.clock)
    subject = _on_the_processor(subject)
    with partial_folder(folder) as partial:
        with storing(folder):
            written = form.write(subject, partial)
        artifact = form.opened(partial, subject)
        deployed = Deployed(
            profiler,
            artifact,
            subject.example,
            inputs=written.inputs,
            varies=written.varies,
            like=subject.model,
        )
        apart, compared = _compared(subject, deployed, written.varies, check)
        most = TOLERANCES[subject.precision]
        if not apart <= most:
            raise DeviceError(
                expected=f"outputs of {form.PROFILER} within {most:g} of torch's",
                received=f"{apart:.2g}, on {compared}",
                cure="check that the model gives the same outputs twice, or choose another --format",
            )
        timed = (
            _timed(profiler, artifact, subject=subject, written=written, name=name, spec=spec, clock=check.clock)
            if check.timed
            else {}
        )
        found = Exported.of(
            subject,
            written,
            format=name,
            folder=folder,
            task=check.task,
            profiler=form.PROFILER,
            difference=apart,
            tolerance=most,
            compared=compared,
            measurements=timed,
        )
        card.write(found, partial)
    return found


def check_new(folder: Path) -> None:
    """Raises UsageError where the folder is there."""
    if folder.exists():
        raise UsageError(
            expected="a folder that is not there yet",
            received=str(folder),
            cure="remove it, or choose another --output",
        )


def _compared(subject: Subject, deployed: Deployed, varies: Sequence[str], check: Acceptance) -> tuple[float, str]:
    """How far the export is from torch, and on what that was seen."""
    examples, compared = [subject.example], _EXAMPLE
    if "batch" in varies:
        examples.append(rebatch(subject.example, batch_size(subject.example) + 1))
        compared += ", also one sample more,"
    apart, _ = difference(subject.model, deployed, examples, _called, "forward pass {} of the example inputs")
    if check.batches is None:
        return apart, compared.rstrip(",")
    worst, count = difference(
        subject.model, deployed, check.batches, check.forward, "batch {} of the calibration split"
    )
    return max(apart, worst), f"{compared} and {count} batches of the calibration split"


def _timed(
    profiler: Profiler, artifact: Any, subject: Subject, written: Written, name: str, spec: RunSpec, clock: Clock
) -> dict[str, Measurement]:
    ready = Artifact("module", module=(artifact, subject.example))
    if written.inputs:
        ready = Artifact(name, artifact, inputs=given(subject.example, written.inputs))
    bench = bench_here(profiler, spec, clock)
    return measured(bench, ready, profiler.name, spec, batch_size(subject.example))


def _on_the_processor(subject: Subject) -> Subject:
    """The subject with its tensors where files are made of them; the user's model stays where it is."""
    if all(tensor.device.type == "cpu" for tensor in (*subject.model.parameters(), *subject.model.buffers())):
        return subject
    return replace(
        subject, model=twin(subject.model, meta=False)[0].cpu(), example=subject.example.map(torch.Tensor.cpu)
    )
