"""How a torch model is called, and what it returns. Knows arguments and the structure of results."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating


@dataclass(frozen=True)
class Called:
    """How the torch model is called, and what it returns: leaves and their structure."""

    signature: inspect.Signature
    leaves: list[Any]
    structure: TreeSpec

    @classmethod
    def of(cls, model: nn.Module, example: Example) -> Called:
        """As the model is called with an example, on which it is run once."""
        with torch.no_grad(), evaluating(model):
            return cls(inspect.signature(model.forward), *tree_flatten(example.fresh().call(model)))

    def arranged(self, example: Example, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Example:
        """The arguments as the example has them, by place or by name; what it does not have is left out."""
        usual = _by_name(self.signature.bind(*example.args, **example.kwargs))
        bound = _by_name(self.signature.bind(*args, **kwargs))
        if any(name not in bound for name in usual):
            return Example(args, dict(kwargs))  # told by who runs it
        by_place = [name for name in usual if name not in example.kwargs][: len(example.args)]
        return Example(tuple(bound[name] for name in by_place), {name: bound[name] for name in example.kwargs})

    def returned(self, found: Sequence[Tensor]) -> Any:
        """Tensors in the structure of the model's results; runtimes leave out what nobody reads."""
        left = iter(found)
        leaves = [next(left, None) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        return tree_unflatten(leaves, self.structure)


def _by_name(bound: inspect.BoundArguments) -> dict[Any, Any]:
    """Every argument in the order of parameters: by its parameter's name, one of `*args` by its place among them, and
    one of `**kwargs` by its own name."""
    found: dict[Any, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= enumerate(value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found
