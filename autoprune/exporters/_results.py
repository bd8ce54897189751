"""A model whose results are tensors alone. Knows that a cache of keys and values is the model's own state and no
result, and that programs cannot return one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.surgery.tracer import tensors_of


def with_results(model: nn.Module, example: Example) -> nn.Module:
    """The model itself where it returns tensors, and else one that leaves out what is none, called in the same way."""
    with torch.no_grad(), evaluating(model):
        out = example.fresh().call(model)
    if not isinstance(out, Mapping) or all(_plain(leaf) for leaf in tree_leaves(dict(out))):
        return model

    def forward(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: each for name, each in self.model(*args, **kwargs).items() if tensors_of(each)}

    # Inputs of files are named by it.
    forward.__signature__ = inspect.signature(type(model).forward)  # type: ignore[attr-defined]
    wrapped = type(type(model).__name__, (nn.Module,), {"forward": forward})()
    wrapped.model = model
    found: nn.Module = wrapped.eval()
    return found


def _plain(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, Tensor | int | float | str)
