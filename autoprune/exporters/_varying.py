"""Which dimensions of a model's inputs may vary: batch and sequence. Knows examples; whether a model lets them vary is
seen when it is exported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from autoprune.errors import describe
from autoprune.surgery.example import Example
from autoprune.tasks.task import batch_size, rebatch

T = TypeVar("T")

BATCH, SEQUENCE = "batch", "sequence"
#: Of one sample, an exporter concludes that there is always one.
_LEAST: Final = 2


def several(example: Example) -> Example:
    """The example with more than one sample."""
    return rebatch(example, max(batch_size(example), _LEAST))


def names_of(tensor: Tensor, batch: int) -> dict[int, str]:
    """The dimensions that may vary, by name: the batch; of rows of whole numbers, such as tokens, their length."""
    found = {0: BATCH} if tensor.dim() and len(tensor) == batch else {}
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    return {**found, 1: SEQUENCE} if found and whole and tensor.dim() == 2 else found


def dimensions(example: Example) -> tuple[str, ...]:
    """All that may vary of inputs like these, where code runs that takes any size."""
    batch = batch_size(example)
    return tuple(sorted({name for tensor in example.tensors for name in names_of(tensor, batch).values()}))


def freely(
    model: nn.Module, example: Example, export: Callable[[Example, dict[str, Any] | None], T]
) -> tuple[T, tuple[str, ...]]:
    """Export a model with all that may vary, or as it is where that fails, with a note of the reason.

    export: takes an example and, by argument, what of it may vary.

    Raises:
        Exception: what `export` raised of the example as it is.
    """
    wide = several(example)
    batch = batch_size(wide)

    def spec(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return None
        return dict.fromkeys(names_of(leaf, batch), torch.export.Dim.AUTO)

    try:
        bound = inspect.signature(model.forward).bind(*wide.args, **wide.kwargs).arguments
        return export(wide, {name: tree_map(spec, value) for name, value in bound.items()}), ()
    except Exception as error:  # of code that needs numbers; where that is not why, it comes again
        fixed = export(example, None)
        return fixed, (f"its sizes are fixed, as they cannot be exported otherwise ({describe(error)})",)
