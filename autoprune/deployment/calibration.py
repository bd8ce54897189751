"""What a model is called with on the calibration split, at the batch that is measured. Knows tasks and arguments; not
what is calibrated by it."""

from __future__ import annotations

from typing import Any, Final

import torch

from autoprune.deployment.arguments import Called
from autoprune.deployment.samples import rows
from autoprune.errors import DeviceError
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task, batch_size

#: Of the calibration split, as many samples as ranges of activations are told by.
_SAMPLES: Final = 64


def calibration_inputs(task: Task, example: Example) -> tuple[Example, ...]:
    """Calls of the dense model on samples of the calibration split, each of the example's shapes.

    Args:
        task: Whose model is run, as its `forward` runs it.
        example: One forward pass at the batch that is measured.

    Raises:
        DeviceError: no call has the example's shapes.
    """
    model, want, called = task.model, batch_size(example), Called.of(task.model, example)
    found: list[Example] = []

    def seen(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = called.arranged(example, args, kwargs)
        have = batch_size(call)
        places = [torch.arange(start, start + want) % have for start in range(0, have, want)]
        turns = [rows(call, have, each) for each in places]
        found.extend(turn for turn in turns if _shapes(turn) == _shapes(example))

    hook = model.register_forward_pre_hook(seen, with_kwargs=True)
    try:
        with torch.no_grad(), evaluating(model):
            for batch in task.batches("calibration"):
                task.forward(model, batch)
                if len(found) * want >= _SAMPLES:
                    break
    finally:
        hook.remove()
    if not found:
        raise DeviceError(
            expected="batches of the calibration split of the shape of example_inputs, to quantise with",
            received="others",
            cure="give example_inputs of the shape that batches have",
        )
    return tuple(found[: max(_SAMPLES // want, 1)])


def _shapes(example: Example) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in example.tensors]
