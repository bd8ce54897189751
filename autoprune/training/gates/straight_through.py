"""Movement scores: the best are open, the others closed, and all learn as if they were open (Sanh et al. 2020).

What a gate's gradient adds up to is how much its slice has moved away from zero; gradients pass a closed gate, too. All
steps count alike: the gradients of one arrive divided by their norm.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from autoprune.training.gates import Gate, GateContext


class StraightThrough(Gate):
    """movement: of each slice."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.movement = nn.Parameter(torch.zeros(size))
        self.kept = float(size)

    def at(self, kept: float) -> None:
        self.kept = kept

    def forward(self, context: GateContext) -> Tensor:
        return self.settled() + (self.movement - self.movement.detach())

    def settled(self) -> Tensor:
        best = self.movement.detach().argsort(descending=True, stable=True)[: max(round(self.kept), 1)]
        return torch.zeros_like(self.movement).index_fill(0, best, 1.0)

    def scores(self) -> Tensor:
        return self.movement.detach()


def create(size: int) -> Gate:
    return StraightThrough(size)


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Plain descent, as sums of gradients are the scores; only their order counts."""
    return torch.optim.SGD(parameters, 1.0)
