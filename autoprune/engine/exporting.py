"""Exporting finished models by their folders. Knows tasks and folders; `deployment` has what an export is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from autoprune.core.reporter import Reporter
from autoprune.deployment.card import Exported
from autoprune.deployment.export import Acceptance, check_new, export, format_of
from autoprune.errors import UsageError
from autoprune.exporters import Subject
from autoprune.models.folder import read
from autoprune.models.rebuild import assemble, task_of
from autoprune.store.reading import EXPORTED
from autoprune.tasks.batch import moved
from autoprune.tasks.task import Task, rebatch


def export_folder(
    folder: Path,
    task: Task | None,
    formats: Iterable[str],
    output: Path | None,
    reporter: Reporter,
    *,
    batch: int = 0,
    threads: int = 1,
    precision: str = "float32",
    opset: int | None = None,
) -> tuple[Exported, ...]:
    """Export the model of a folder.

    Args:
        folder: Of a finished model.
        task: What it was made from; None to find it by its name.
        formats: Names.
        output: Where each has a folder of its name; None for `exported` beside the model.
        reporter: Told of progress.
        batch: That is exported and timed; 0 for that of the example inputs.
        threads: On which it is timed.
        precision: That files compute in.
        opset: Version of operators; None for the usual one.

    Returns:
        The cards.

    Raises:
        AutopruneError: as `deployment.export` and `models.rebuild` do.
    """
    chosen = known(formats, precision)
    record, weights = read(folder)
    task = task if task is not None else task_of(record, folder, reporter)
    subject = Subject(
        model=assemble(record, weights, dense=task.model, example=task.example, folder=folder, reporter=reporter),
        example=rebatch(task.example, batch),
        name=f"Trial {record.trial} of a search on '{task.name}'",
        dense=task.model,
        form=record.form,
        made_by=task.spec,
        precision=precision,
        opset=opset,
    )
    check = Acceptance(batches=_Calibration(task), forward=task.forward, task=task.spec, threads=threads)
    return export_all(subject, chosen, folder / EXPORTED if output is None else output, check, reporter)


def known(formats: Iterable[str], precision: str) -> tuple[str, ...]:
    """The formats, once each.

    Raises:
        UsageError: none, an unknown one, or one without that precision. DeviceError: a library is missing.
    """
    chosen = tuple(dict.fromkeys(each.strip().replace("_", "-") for each in formats))
    if not chosen:
        raise UsageError(expected="at least one format", received="none", cure="name for example onnx")
    for name in chosen:
        format_of(name, precision)
    return chosen


def export_all(
    subject: Subject, formats: Iterable[str], output: Path, check: Acceptance, reporter: Reporter
) -> tuple[Exported, ...]:
    """Export a model in several formats; each has a folder of its name, none of which is there yet."""
    names = tuple(formats)
    for name in names:
        check_new(output / name)
    found = []
    with reporter.track("exporting", len(names)) as advance:
        for name in names:
            found.append(export(subject, name, output / name, check))
            for note in found[-1].notes:
                reporter.note(f"{name}: {note}")
            advance(f"{name}, {found[-1].difference:.1e} from torch")
    return tuple(found)


class _Calibration:
    """The calibration split, on the processor."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __iter__(self) -> Iterator[Any]:
        return (moved(batch, torch.device("cpu")) for batch in self._task.split("calibration"))
