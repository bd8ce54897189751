"""From a folder back to a model: the task's constructor, the stored slices, the stored weights. No pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from autoprune.core.reporter import Reporter
from autoprune.errors import StorageError, UsageError
from autoprune.models.configuration import configure
from autoprune.models.folder import PLAN, PrunedModel, check_agreement, read
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
    return assemble(record, weights, dense=task.model, example=task.example, folder=folder, reporter=reporter)


def task_of(record: PrunedModel, folder: Path, reporter: Reporter) -> Task:
    """The task by whose name a model was made; errors as of `task_named`."""
    return task_named(record.task, folder, reporter)


def task_named(name: str, folder: Path, reporter: Reporter) -> Task:
    """The task of a name that was written beside a model.

    Raises:
        StorageError: it is empty, or none is there under that name, as on another machine.
    """
    received = "none, as it was made from an object of Python"
    if name:
        try:
            return locate(name, reporter)
        except UsageError as error:
            received = f"'{name}', but {error.received}"
    raise StorageError(
        expected=f"the task of which the model in {folder} was made",
        received=received,
        cure="pass the dense model: autoprune.load(folder, model=dense)",
    )


def rebuild_from(folder: Path, model: nn.Module, example: Example | None, reporter: Reporter) -> nn.Module:
    """`rebuild` of a model that was pruned without a task, from the dense model; errors as there.

    example: one forward pass, which folders of earlier versions need.
    """
    return assemble(*read(folder), unwrapped(model), example, folder, reporter)


def assemble(
    record: PrunedModel, weights: bytes, dense: nn.Module, example: Example | None, folder: Path, reporter: Reporter
) -> nn.Module:
    """The model of a folder that was read, from the dense one; errors as in `rebuild`."""
    if record.form is not None:
        check_agreement(record, folder, record.form.groups)
        model = record.form.built(dense, str(folder))
        load_into(model, weights, str(folder))
        record.form.settle(model, str(folder))
        record.form.tell(dense, reporter)
        return model.eval()
    if example is None:
        raise UsageError(
            expected=f"example_inputs of the dense model, as {folder / PLAN} is of an earlier version",
            received="none",
            cure="pass load(folder, model=dense, example_inputs=inputs), and save it once more",
        )
    model, notes = _traced_again(record, weights, dense, example, folder)
    reporter.note(f"{folder} is of an earlier version, which does not tell of which dense model it was cut")
    for note in notes:
        reporter.note(note)
    return model.eval()


def _traced_again(
    record: PrunedModel, weights: bytes, dense: nn.Module, example: Example, folder: Path
) -> tuple[nn.Module, Sequence[str]]:
    """The model of a folder that has no form, and what its configuration cannot say."""
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
    return model, configure(dense, model, traced, slices, example).notes
