"""Gates that are open or closed by chance, whose probabilities are learned (hard concrete, Louizos et al. 2018).

As many slices as the plan keeps are expected to be open (L0): the gradient is taken along this constraint, which is
that of a Lagrangian whose multiplier is solved for at each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.training.gates import Gate, GateContext

#: Temperature, and the interval that a binary concrete number is stretched to before it is clipped (section 4.1).
TEMPERATURE: Final = 2 / 3
LOW, HIGH = -0.1, 1.1
#: Log-odds below which a gate that was stretched and clipped is zero (equation 12).
_ZERO: Final = TEMPERATURE * math.log(-LOW / HIGH)
#: The share of slices that is open by chance where all are to be: with none ever closed nothing would be learned.
_ALMOST: Final = 0.99
#: How far log-odds may go while a gate learns.
_REACH: Final = 20.0
#: Log-odds at which a gate is all but certain; moves that are tried at a time, and how often.
_FAR, _TRIED, _ROUNDS = 40.0, 65, 4


class HardConcrete(Gate):
    """log_odds: of each slice, up to a number that all have in common."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.log_odds = nn.Parameter(torch.zeros(size))
        self.kept = float(size)

    def at(self, kept: float) -> None:
        self.kept = kept

    def forward(self, context: GateContext) -> Tensor:
        if context.uniform is None:
            return self.settled()
        chance = context.uniform.clamp(1e-6, 1 - 1e-6)
        return _stretched((chance.logit() + self.located()) / TEMPERATURE)

    def settled(self) -> Tensor:
        return _stretched(self.located())

    def scores(self) -> Tensor:
        return self.log_odds.detach()

    def open(self) -> Tensor:
        """The probability of each slice to be other than zero, (size,); their sum is the expected L0 (equation 12)."""
        return torch.sigmoid(self.located() - _ZERO)

    def located(self) -> Tensor:
        """Log-odds, moved by what makes as many open as should be; the move follows the log-odds in gradients, too."""
        wanted = min(self.kept, _ALMOST * self.size)
        with torch.no_grad():
            odds = self.log_odds - _ZERO
            low, high = -_FAR - odds.max(), _FAR - odds.min()
            for _ in range(_ROUNDS):
                moves = low + (high - low) * torch.linspace(0, 1, _TRIED, dtype=odds.dtype, device=odds.device)
                few = (torch.sigmoid(odds + moves[:, None]).sum(1) < wanted).sum().clamp(1, _TRIED - 1)
                low, high = moves[few - 1], moves[few]
            chances = torch.sigmoid(odds + low)
            slopes = (chances * (1 - chances)).clamp(min=1e-12)
            move = low + (wanted - chances.sum()) / slopes.sum()
            slopes = slopes / slopes.sum()
        along = (slopes * (self.log_odds - self.log_odds.detach())).sum()  # zero, with the slope of the move
        return self.log_odds + move - along


def _stretched(concrete: Tensor) -> Tensor:
    """Equation 11."""
    return (torch.sigmoid(concrete) * (HIGH - LOW) + LOW).clamp(0, 1)


def create(size: int) -> Gate:
    return HardConcrete(size)


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, _REACH)
