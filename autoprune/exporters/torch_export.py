"""Programs of `torch.export` (.pt2). Knows how they are written, and opens what was just written.

Opening such a file may run what is in it, and another version of torch may refuse it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from autoprune.exporters import Subject, Written
from autoprune.exporters._libraries import refused, versions
from autoprune.exporters._results import with_results
from autoprune.exporters._varying import freely, names_of
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import batch_size

PROFILER: Final = "torch"
PRECISIONS: Final = ("float32",)
FROM_DENSE: Final = False
RUNS_CODE: Final = True
FILE: Final = "model.pt2"
_USAGE: Final = """import torch

outputs = torch.export.load("model.pt2").module()(...)"""


class Program(nn.Module):
    """A program as a module that may be set to eval mode, in which it is anyway."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self._called = (program,)  # no child: it refuses to be asked for a mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the exported model returned."""
        return self._called[0](*args, **kwargs)


def exported(subject: Subject, *, varying: bool) -> tuple[tuple[Example, Any], tuple[str, ...]]:
    """The program of a model with the example that it was made with; and why its sizes are fixed, where they are.

    Raises:
        DeviceError: the model cannot be expressed.
    """
    model = with_results(subject.model, subject.example)

    def export(example: Example, shapes: dict[str, Any] | None) -> tuple[Example, Any]:
        fresh = example.fresh()
        with torch.no_grad(), evaluating(model):
            return example, torch.export.export(model, fresh.args, fresh.kwargs, dynamic_shapes=shapes)

    try:
        return freely(model, subject.example, export) if varying else (export(subject.example, None), ())
    except Exception as error:
        raise refused("torch.export", error) from error


def write(subject: Subject, folder: Path) -> Written:
    (example, program), fixed = exported(subject, varying=True)
    torch.export.save(program, folder / FILE)
    found = [node.meta["val"].shape for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    batch = batch_size(example)
    varies = {
        name
        for shape, tensor in zip(found, example.tensors, strict=False)
        for place, name in names_of(tensor, batch).items()
        if not isinstance(shape[place], int)
    }
    return Written(
        file=FILE,
        usage=_USAGE,
        varies=tuple(sorted(varies)),
        versions=versions("torch"),
        notes=(
            *fixed,
            "opening a .pt2 file may run what is in it: open your own only; autoprune opens none without trust=True",
            "another version of torch may refuse it",
        ),
    )


def opened(folder: Path, subject: Subject) -> nn.Module:
    del subject
    return Program(torch.export.load(folder / FILE).module())
