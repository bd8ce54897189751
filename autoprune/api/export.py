"""`autoprune.export` and `autoprune.load_exported`: models as files that runtimes read, and back."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune import registry
from autoprune.api.notebook import usual_reporter
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.reporter import Reporter
from autoprune.deployment.card import Exported
from autoprune.deployment.export import Acceptance
from autoprune.deployment.opening import opened
from autoprune.engine.exporting import export_all, export_folder, known
from autoprune.engine.prepare import make_task
from autoprune.engine.result import model_folder
from autoprune.errors import UsageError
from autoprune.exporters import Subject
from autoprune.measure.pruned import Pruned
from autoprune.store.reading import EXPORTED
from autoprune.surgery import unwrapped
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task, rebatch


def export(
    subject: Pruned | nn.Module | str | PathLike[str],
    formats: str | Sequence[str],
    output: str | PathLike[str] | None = None,
    *,
    example_inputs: Any = None,
    outputs: Outputs = None,
    model: nn.Module | None = None,
    task: Task | str | None = None,
    batch: int = 0,
    threads: int = 1,
    precision: str = "float32",
    opset: int | None = None,
    reporter: Reporter | None = None,
) -> tuple[Exported, ...]:
    """Write a model as files that runtimes read. Each is run in its runtime, compared with torch, and timed.

    Args:
        subject: What `prune` returned, any other model, a run directory (its best model), or the folder of a model.
        formats: "onnx", "openvino", "torch-export", "executorch", "safetensors", "transformers"; one or several, also
            as "onnx,openvino".
        output: Where each has a folder of its name, which is not there yet; default: `exported`, beside the model's
            files where it has a folder.
        example_inputs: One forward pass, where the subject is no folder.
        outputs: As they were passed to `prune`.
        model: The dense model of what `prune` returned; "safetensors" says how it is made, and "transformers" needs it
            for sizes that no configuration can say.
        task: Of a folder: what it was made from, by default found by its name.
        batch: That is exported and timed; 0 for that of the example inputs.
        threads: On which it is timed.
        precision: That files compute in.
        opset: Version of operators, where a format has any; None for the usual one.
        reporter: Who is told of progress; default: the logger "autoprune".

    Returns:
        The cards, in the order of the formats.

    Raises:
        UsageError: an unknown format, or one without that precision or opset; or a folder that is there.
        DeviceError: a library is missing, a model that a format cannot express (the operator is named), or one that
            computes something else there.
        StorageError: a folder that cannot be read or written.

    Example:
        >>> (card,) = autoprune.export(pruned, "onnx", "out", example_inputs=images)  # doctest: +SKIP
        >>> card.path, card.difference, card.measurements["latency"].value  # doctest: +SKIP
    """
    reporter = reporter or usual_reporter()
    names = formats.split(",") if isinstance(formats, str) else list(formats)
    where = None if output is None else Path(output)
    if isinstance(subject, str | PathLike):
        folder, measured = model_folder(Path(subject))
        made = None if task is None else make_task(task, reporter)
        return export_folder(
            folder,
            made,
            names,
            where,
            reporter,
            batch=batch or measured.get("batch", 0),
            threads=threads,
            precision=precision,
            opset=opset,
        )
    if example_inputs is None:
        raise UsageError(
            expected="example_inputs of a model that is no folder", received="none", cure="pass one call's arguments"
        )
    small = subject.model if isinstance(subject, Pruned) else unwrapped(subject)
    record = Subject(
        model=small,
        example=rebatch(Example.of(example_inputs, outputs), batch),
        name=type(small).__name__,
        dense=None if model is None else unwrapped(model),
        form=subject.form if isinstance(subject, Pruned) else None,
        precision=precision,
        opset=opset,
    )
    chosen = known(names, precision)
    with evaluating(small):
        return export_all(record, chosen, where or Path(EXPORTED), Acceptance(threads=threads), reporter)


def load_exported(
    folder: str | PathLike[str], *, model: nn.Module | None = None, threads: int = 1, trust: bool = False
) -> nn.Module:
    """Open what `export` wrote, to be called in its runtime.

    Args:
        folder: Of one format, or the file in it.
        model: The dense model, which "safetensors" needs.
        threads: Of the processor.
        trust: Whether a file that may run code when it is opened is opened, as one of "torch-export" may.

    Returns:
        A module. Of a runtime that is not torch it takes tensors by place and returns a tensor or a tuple of them.

    Raises:
        StorageError: no export is there, or one that is not opened without trust.
        DeviceError: its library is missing.
    """
    found = opened(Path(folder), dense=model, trust=trust)
    spec = RunSpec(threads, 0, found.card.precision)
    return found.module(registry.load("profilers", found.card.profiler).create(spec, SystemClock()))
