"""Squeeze-and-excitation gates (Hu et al. 2018): each sample opens slices by what enters them.

Slices are ranked by the mean over the data of what their gates let through (Yamamoto and Maeno 2018).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.training.gates import INPUTS, Gate, GateContext

NEEDS: Final = INPUTS
#: By how much the inner layer is narrower than the group, and its least width.
_NARROWER, _LEAST = 4, 4
#: How much of the mean each run replaces.
_LATEST: Final = 0.05
#: How far a weight may go while a gate learns.
_REACH: Final = 1.0


class Attention(Gate):
    """mean: of each slice what its gate let through lately, on average over samples."""

    mean: Tensor

    def __init__(self, size: int) -> None:
        super().__init__(size)
        inner = max(size // _NARROWER, _LEAST)
        self.squeeze, self.excite = nn.Linear(size, inner), nn.Linear(inner, size)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)
        self.register_buffer("mean", torch.ones(size))

    def forward(self, context: GateContext) -> Tensor:
        seen = context.inputs
        if seen is None:
            return self.mean[None]
        shares = seen / seen.mean(1, keepdim=True).clamp(min=1e-12)
        # Twice the sigmoid, so that all gates are 1 at first.
        gates: Tensor = 2 * torch.sigmoid(self.excite(torch.relu(self.squeeze(shares))))
        if context.uniform is not None:
            self.mean.lerp_(gates.detach().mean(0), _LATEST)
        return gates

    def settled(self) -> Tensor:
        return self.mean

    def scores(self) -> Tensor:
        return self.mean


def create(size: int) -> Gate:
    return Attention(size)


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, _REACH)
