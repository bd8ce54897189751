"""Weights that were quantised, which are never cut: scales and packing go by position. Knows how to tell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

QUANTISED: Final = "its weights are quantised: prune before"
#: Operators of torch's own quantisation.
NAMESPACE: Final = "quantized."


def is_quantised(tensor: Tensor) -> bool:
    """Whether a parameter, or what is kept inside of it, has bytes for elements; tables of places have larger ones."""
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        inside = [getattr(tensor, name) for name in names]
        return any(is_quantised(each) for each in inside if each.dim() > 1)
    return tensor.is_quantized or (tensor.element_size() == 1 and tensor.dtype is not torch.bool)


def quantised_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules with a quantised weight of their own, and torch's that keep theirs packed."""
    for name, module in model.named_modules():
        weights = (each for each in module._parameters.values() if each is not None)
        if any(map(is_quantised, weights)) or any(map(_packed, vars(module).values())):
            yield name, module


def _packed(value: Any) -> bool:
    return isinstance(value, torch.ScriptObject) and ".quantized." in str(value._type())
