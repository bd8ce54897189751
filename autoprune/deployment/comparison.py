"""How far a model in its runtime is from torch's, over a split. Knows tensors; not formats or runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import nn

from autoprune.errors import AutopruneError, DeviceError, describe
from autoprune.surgery.modes import evaluating
from autoprune.surgery.tracer import tensors_of

#: How far outputs may be from torch's, by precision, in units of the largest of them.
TOLERANCES: Final = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.05}


def difference(
    model: nn.Module, other: nn.Module, batches: Iterable[Any], forward: Callable[[nn.Module, Any], Any], shown: str
) -> tuple[float, int]:
    """The largest difference between two models' outputs, in units of the largest output of its tensor.

    Args:
        model: What is right.
        other: What is held against it.
        batches: Of a split.
        forward: (model, batch) -> outputs.
        shown: How errors name a batch, with `{}` for its number.

    Returns:
        The difference, infinite where shapes differ or one is not finite where the other is; and how many batches.

    Raises:
        DeviceError: the other does not run on a batch.
    """
    worst, count = 0.0, 0
    for count, batch in enumerate(batches, 1):
        with torch.no_grad(), evaluating(model):
            expected = tensors_of(forward(model, batch))
        try:
            found = tensors_of(forward(other, batch))
        except AutopruneError:
            raise
        except Exception as error:
            raise DeviceError(
                expected=f"the exported model to run on {shown.format(count)}",
                received=describe(error),
                cure="give example_inputs of the shape that batches have",
            ) from error
        pairs = zip(found, expected, strict=False)  # runtimes leave out what nobody reads
        worst = max([worst, *(apart(one, another) for one, another in pairs)]) if found else float("inf")
    return worst, count


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of a tensor from what is right, in units of the largest of that; infinite where shapes
    differ, or where one is not finite and the other is."""
    one, other = found.detach().cpu().double(), expected.detach().cpu().double()
    if one.shape != other.shape:
        return float("inf")
    finite = other.isfinite()
    if not torch.equal(one.isfinite(), finite):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    largest = float(other[finite].abs().max())
    return float((one[finite] - other[finite]).abs().max()) / max(largest, 1e-12)
