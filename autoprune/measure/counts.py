"""Costs that are counted instead of measured: parameters, floating-point operations, bytes on disk and of a cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS
from autoprune.models.decoding import cache_sizes
from autoprune.models.weights import file_size
from autoprune.surgery.contractions import unfused
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.surgery.operations import formula
from autoprune.surgery.operator_watch import OperatorWatch


class _Operations(OperatorWatch):
    """Adds up the operations of each operator."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if any(isinstance(leaf, Tensor) and leaf.is_nested for leaf in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)  # it has no shape to count by
        operations = formula(func)
        if operations is None and func._can_decompose():
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.total += operations(*args, **kwargs, out_val=out) if operations else 0
        return out


def counts(model: nn.Module, inputs: Any) -> dict[str, Measurement]:
    """By key: `params`, `flops` of one forward pass of `inputs` (a multiply-add is two), `size` in bytes as saved; of a
    decoder also `kv_cache`, the bytes of keys and values after all tokens of `inputs`."""
    with torch.no_grad(), evaluating(model), unfused(), _Operations() as counter:
        Example.of(inputs).call(model)
    values = {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "flops": counter.total,
        "size": file_size(model),
    }
    if cache := cache_sizes(model, Example.of(inputs)):
        values["kv_cache"] = sum(cache.values())
    return {key: Measurement.exact(key, float(value), COSTS[key].unit) for key, value in values.items()}
