"""`autoprune.load`: a pruned model from its folder."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.api.notebook import usual_reporter
from autoprune.core.reporter import Reporter
from autoprune.engine.prepare import make_task
from autoprune.errors import UsageError
from autoprune.models.rebuild import rebuild, rebuild_from
from autoprune.surgery.example import Example, Outputs
from autoprune.tasks.task import Task


def load(
    folder: str | PathLike[str],
    task: Task | str | None = None,
    *,
    model: nn.Module | None = None,
    example_inputs: Any = None,
    outputs: Outputs = None,
    reporter: Reporter | None = None,
) -> nn.Module:
    """Rebuild a pruned model, from its plan, its safetensors, and what it was made from.

    Args:
        folder: `runs/<name>/models/<trial>`, or what `Pruned.save` wrote.
        task: What the search was of, or its name; by default found by the name that it was started with.
        model: Instead of a task, the dense model as it was passed to `prune`, with any weights.
        example_inputs: Of that model, for folders of earlier versions, which are traced again.
        outputs: As they were passed to `prune`, for the same.
        reporter: Who is told where the dense model is another one than was cut; default: the logger "autoprune".

    Returns:
        The model in eval mode.

    Raises:
        UsageError: a task and a model, or inputs without a model.
        StorageError: the folder is incomplete, damaged, or belongs to another model; or its task is not here.

    Example:
        >>> load("runs/digits-1/models/17")  # doctest: +SKIP
    """
    reporter = reporter or usual_reporter()
    if model is None and example_inputs is None:
        return rebuild(Path(folder), None if task is None else make_task(task, reporter), reporter)
    if task is not None or model is None:
        raise UsageError(
            expected="either a task, or model= (with example_inputs= for folders of earlier versions)",
            received="parts of both" if task is not None else "no model",
            cure="pass load(folder, model=dense)",
        )
    example = None if example_inputs is None else Example.of(example_inputs, outputs)
    return rebuild_from(Path(folder), model, example, reporter)
