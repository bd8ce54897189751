"""The mean of a model's weights over the last steps of its training. Knows tensors by name; not how they are trained.

What is averaged lies beside the model: it is trained on as it is, and the mean is what is scored and kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

#: Of all steps, how many the mean looks back on.
_WINDOW: Final = 0.1


class Average:
    """An exponential moving average of parameters and buffers (Polyak, Juditsky 1992; Tarvainen, Valpola 2017)."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._mean = {name: tensor.detach().clone() for name, tensor in _floating(model)}

    @torch.no_grad()
    def add(self, step: int, steps: int) -> None:
        """Take in the model as a step left it; until the window is full, the mean is that of all steps so far.

        Args:
            step: From 0 on.
            steps: Of the whole training.
        """
        weight = 1 / min(step + 1, max(_WINDOW * steps, 1.0))
        for name, tensor in _floating(self._model):
            self._mean[name].lerp_(tensor, weight)

    @torch.no_grad()
    def put(self) -> None:
        """The mean becomes the model's weights."""
        for name, tensor in _floating(self._model):
            tensor.copy_(self._mean[name])


def _floating(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What can be averaged; counters are those of the last step."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            yield name, tensor
