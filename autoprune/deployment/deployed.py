"""A model in its runtime, called as the torch model is. Knows arguments and the structure of results; not formats.

What scores a model calls it with tensors and takes what it returned apart, so an artifact that is to be scored must
take and return the same. Where its batch is fixed, more samples go through it in turns and fewer are filled up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.deployment.arguments import Called
from autoprune.deployment.samples import batched, rows
from autoprune.profilers import Profiler
from autoprune.surgery.example import Example, arrays
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
        self._called: Called | None = None
        if like is not None:
            self._called = Called.of(like, example)
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

    def example_outputs(self) -> list[Any]:
        """What the runtime computes of the example, as arrays."""
        profiler, handle = self._runtime
        return profiler.outputs(handle)

    def _run(self, example: Example) -> list[Tensor]:
        profiler, handle = self._runtime
        return [torch.from_numpy(each) for each in profiler.outputs(handle, given(example, self._names))]

    def _returned(self, found: Sequence[Tensor]) -> Any:
        if self._called is None:
            return found[0] if len(found) == 1 else tuple(found)
        return self._called.returned(found)


def given(example: Example, inputs: Sequence[str]) -> Any:
    """An example as a profiler takes it: arrays by name, or the example itself where there are no names."""
    return dict(zip(inputs, arrays(example.tensors), strict=True)) if inputs else example
