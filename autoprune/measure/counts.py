"""Costs that are counted instead of measured: parameters, those that are not zero, floating-point operations, bytes on
disk and of a cache. Knows models; not plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, KV_CACHE, NONZEROS
from autoprune.models.decoding import cache_sizes
from autoprune.models.weights import file_size, stored
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


def _nonzeros(parameter: Tensor) -> int:
    """Vectors, such as biases, count whole: many begin at zero, and training fills them."""
    return int(parameter.count_nonzero()) if parameter.ndim > 1 else parameter.numel()


#: What is counted of each parameter.
_OF_PARAMETERS: Final[Mapping[str, Callable[[Tensor], int]]] = {"params": Tensor.numel, NONZEROS: _nonzeros}


def parts(metric: str, model: nn.Module, example: Example) -> dict[str, int]:
    """What adds up to a counted metric other than the operations, by names that are the same in all models that are cut
    from one; of `size` the tensors alone, as they are in memory."""
    if metric in _OF_PARAMETERS:
        count = _OF_PARAMETERS[metric]
        return {name: count(each.detach()) for name, each in model.named_parameters()}
    if metric == KV_CACHE:
        return cache_sizes(model, example)
    return {name: each.numel() * each.element_size() for name, each in stored(model).items()}


def counts(model: nn.Module, inputs: Any) -> dict[str, Measurement]:
    """By key: `params`, `nonzeros` of them, `flops` of one forward pass of `inputs` (a multiply-add is two), `size` in
    bytes as saved; of a decoder also `kv_cache`, the bytes of keys and values after all tokens of `inputs`."""
    example = Example.of(inputs)
    with torch.no_grad(), evaluating(model), unfused(), _Operations() as counter:
        example.call(model)
    values = {name: sum(parts(name, model, example).values()) for name in _OF_PARAMETERS}
    values |= {"flops": counter.total, "size": file_size(model)}
    if cache := parts(KV_CACHE, model, example):
        values[KV_CACHE] = sum(cache.values())
    return {key: Measurement.exact(key, float(value), COSTS[key].unit) for key, value in values.items()}
