"""`autoprune.load`: a pruned model from its folder."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.core.reporter import Silent
from autoprune.errors import UsageError
from autoprune.models.rebuild import rebuild, rebuild_from
from autoprune.tasks.task import Task


def load(
    folder: str | PathLike[str], task: Task | None = None, *, model: nn.Module | None = None, example_inputs: Any = None
) -> nn.Module:
    """Rebuild a pruned model in eval mode, from its plan, its safetensors, and what it was made from.

    folder: `runs/<name>/models/<trial>`, or what `Pruned.save` wrote; task: by default it is found by the name that the
    search was started with; model, example_inputs: instead of a task, the dense model (any weights) as it was passed
    to `prune`.

    Raises:
        UsageError: a task and a model, or a model without inputs.
        StorageError: the folder is incomplete, damaged, or belongs to another model.
    """
    if model is None and example_inputs is None:
        return rebuild(Path(folder), task, Silent())
    if task is not None or model is None or example_inputs is None:
        raise UsageError(
            expected="either a task, or model= and example_inputs=",
            received="parts of both" if task is not None else "one of the two",
            cure="pass load(folder, model=dense, example_inputs=inputs)",
        )
    return rebuild_from(Path(folder), model, example_inputs)
