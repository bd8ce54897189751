"""A model in its runtime, called as the torch model is. Knows arguments and the structure of results; not formats.

What scores a model calls it with tensors and takes what it returned apart, so an artifact that is to be scored must
take and return the same. Where its batch is fixed, more samples go through it in turns and fewer are filled up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from autoprune.deployment.samples import batched, rows
from autoprune.profilers import Profiler
from autoprune.surgery.example import Example, arrays
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import batch_size


class Deployed(nn.Module):
    """The model of an artifact.

    Where the torch model is known, calls and results are as with that one: arguments by place or by name, results in
    its structure. Where it is not, arguments are tensors by place, and the result is a tensor or a tuple of them.
    """

    def __init__(
        self,
        profiler: Profiler,
        artifact: Any,
        example: Example,
        *,
        inputs: Sequence[str],
        varies: Sequence[str],
        like: nn.Module | None,
    ) -> None:
        """Prepare it.

        Args:
            profiler: That runs it.
            artifact: What the profiler prepares.
            example: One forward pass.
            inputs: Names of the artifact's inputs in the order of the example's tensors; empty where it is called as
                the torch model.
            varies: Dimensions that may be of another size than the example's.
            like: The torch model, or another one of its class; it is run once.

        Raises:
            DeviceError: the artifact does not run on the example.
        """
        super().__init__()
        self._runtime = (profiler, profiler.prepare(artifact, given(example, inputs)))
        self._example, self._names, self._varies = example, tuple(inputs), "batch" in varies
        self._place = nn.Parameter(torch.zeros(()), requires_grad=False)  # who scores asks where the model lies
        self._called: _Called | None = None
        if like is not None:
            with torch.no_grad(), evaluating(like):
                self._called = _Called(inspect.signature(like.forward), *tree_flatten(example.fresh().call(like)))
            if hasattr(like, "config"):
                self.config = like.config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the torch model returns, as the runtime computes it."""
        example = Example(args, kwargs) if self._called is None else self._called.arranged(self._example, args, kwargs)
        have, want = batch_size(example), batch_size(self._example)
        if self._varies or have == want:
            return self._returned(self._run(example))
        # Those at the end are repeated where they are too few.
        places = [torch.arange(start, start + want).clamp(max=have - 1) for start in range(0, have, want)]
        together = zip(*(self._run(rows(example, have, each)) for each in places), strict=True)
        return self._returned([torch.cat(parts)[:have] if batched(parts[0], want) else parts[0] for parts in together])

    def _run(self, example: Example) -> list[Tensor]:
        profiler, handle = self._runtime
        return [torch.from_numpy(each) for each in profiler.outputs(handle, given(example, self._names))]

    def _returned(self, found: Sequence[Tensor]) -> Any:
        if self._called is None:
            return found[0] if len(found) == 1 else tuple(found)
        return self._called.returned(found)


@dataclass(frozen=True)
class _Called:
    """How the torch model is called, and what it returns: leaves and their structure."""

    signature: inspect.Signature
    leaves: list[Any]
    structure: TreeSpec

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


def given(example: Example, inputs: Sequence[str]) -> Any:
    """An example as a profiler takes it: arrays by name, or the example itself where there are no names."""
    return dict(zip(inputs, arrays(example.tensors), strict=True)) if inputs else example
