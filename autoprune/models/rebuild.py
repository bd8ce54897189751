"""From a folder back to a model: the task's constructor, the stored slices, the stored weights. No pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from autoprune.core.reporter import Reporter
from autoprune.errors import StorageError, UsageError
from autoprune.models.configuration import configure
from autoprune.models.folder import PrunedModel, check_agreement, read
from autoprune.models.weights import load_into
from autoprune.surgery import apply, unwrapped
from autoprune.surgery.example import Example
from autoprune.surgery.find import find
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task


def rebuild(folder: Path, task: Task | None, reporter: Reporter) -> nn.Module:
    """The pruned model of a folder, in eval mode.

    task: what it was made from; None to find it by the name in plan.json.

    Raises:
        StorageError: the folder is damaged, or was made from another model than the task's.
    """
    record, weights = read(folder)
    task = task if task is not None else task_of(record, folder, reporter)
    model, notes = assemble(record, weights, task.model, task.example, folder)
    for note in notes:
        reporter.note(note)
    return model


def task_of(record: PrunedModel, folder: Path, reporter: Reporter) -> Task:
    """The task by whose name a model was made.

    Raises:
        StorageError: it has none, or none is there under that name, as on another machine.
    """
    received = "none, as it was made from an object of Python"
    if record.task:
        try:
            return locate(record.task, reporter)
        except UsageError as error:
            received = f"'{record.task}', but {error.received}"
    raise StorageError(
        expected=f"the task of which the model in {folder} was made",
        received=received,
        cure="pass the dense model: autoprune.load(folder, model=dense, example_inputs=inputs)",
    )


def rebuild_from(folder: Path, model: nn.Module, example: Example) -> nn.Module:
    """`rebuild` of a model that was pruned without a task, from the dense model; errors as there."""
    return assemble(*read(folder), unwrapped(model), example, folder)[0]


def assemble(
    record: PrunedModel, weights: bytes, dense: nn.Module, example: Example, folder: Path
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model of a folder that was read, from the dense one, and what its configuration cannot say; errors as in
    `rebuild`."""
    traced = find(dense, example)
    sizes = {group.name: group.size for group in traced.groups}
    floors = {group.name: min(group.floor, 1) for group in traced.groups}
    for name, indices in record.slices.items():
        if (
            name not in sizes
            or any(not 0 <= index < sizes[name] for index in indices)
            or list(indices) != sorted(set(indices))
            or len(indices) < floors[name]
        ):
            raise StorageError(
                expected=f"slices of the groups of {type(dense).__name__} in {folder}",
                received=f"'{name}'",
                cure="load it with the model that it was made from",
            )
    check_agreement(record, folder, {group.name: group.size for group in traced.groups if group.kind != "weight"})
    whole = [
        group for group in traced.groups if group.frozen_reason and len(record.slices.get(group.name, ())) % group.size
    ]
    if whole:
        raise StorageError(
            expected=f"all slices of '{whole[0].name}' in {folder}, as it stays whole ({whole[0].frozen_reason})",
            received=f"{len(record.slices[whole[0].name])} of {whole[0].size}",
            cure="load it with the outputs= that it was pruned with",
        )
    slices = {name: torch.tensor(indices, dtype=torch.int64) for name, indices in record.slices.items()}
    model = apply(dense, traced, slices)
    load_into(model, weights, str(folder))
    return model.eval(), configure(dense, model, traced, slices, example).notes
