"""Example inputs in one form. Knows the three ways to give them; nothing of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, bfloat16, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from autoprune.errors import UsageError
from autoprune.surgery.tracer import tensors_of


class Example(NamedTuple):
    """The arguments of one forward pass."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, inputs: Any) -> Example:
        """From a tensor, a tuple or list of positional arguments, or a mapping of keyword arguments.

        Raises:
            UsageError: anything else, or no argument at all.
        """
        if isinstance(inputs, Example):
            return inputs
        if isinstance(inputs, Tensor):
            return cls((inputs,), {})
        if isinstance(inputs, Mapping) and inputs and all(isinstance(name, str) for name in inputs):
            return cls((), dict(inputs))
        if isinstance(inputs, tuple | list) and inputs:
            return cls(tuple(inputs), {})
        raise UsageError(
            expected="example_inputs as a tensor, a tuple of arguments, or a dict of keyword arguments",
            received=f"an empty {type(inputs).__name__}"
            if isinstance(inputs, tuple | list | Mapping)
            else repr(inputs),
            cure="pass what one call of the model takes, such as (images,) or {'input_ids': ids}",
        )

    def call(self, model: nn.Module) -> Any:
        return model(*self.args, **self.kwargs)

    def fresh(self) -> Example:
        """The same arguments in new tensors: a model may change its inputs in place."""
        return self.map(Tensor.clone)

    @property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """The same arguments with every tensor changed."""
        args, kwargs = tree_map_only(Tensor, change, (self.args, self.kwargs))
        return Example(args, kwargs)


def arrays(outputs: Any) -> list[Any]:
    """Every tensor of what a model returned as a numpy array, in order; bfloat16, which numpy lacks, as float32."""
    found = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    leaves = [leaf.detach().cpu() for leaf in found or tensors_of(outputs)]
    return [(leaf.float() if leaf.dtype is bfloat16 else leaf).numpy() for leaf in leaves]
