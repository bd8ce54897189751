"""`autoprune.load`: a pruned model from its folder."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from torch import nn

from autoprune.core.reporter import Silent
from autoprune.models.rebuild import rebuild
from autoprune.tasks.task import Task


def load(folder: str | PathLike[str], task: Task | None = None) -> nn.Module:
    """Rebuild the model of `runs/<name>/models/<trial>` in eval mode, from its task, plan and safetensors.

    task: what it was made from; by default it is found by the name that the search was started with.

    Raises:
        StorageError: the folder is incomplete, damaged, or belongs to another model.
    """
    return rebuild(Path(folder), task, Silent())
