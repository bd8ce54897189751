"""Moments of what enters a weight, and the systems of equations that they make. Knows no criterion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from autoprune.surgery.bases import Rows
from autoprune.surgery.contractions import Contraction

#: Ridge, as a share of the mean of the diagonal (Frantar & Alistarh 2022).
DAMPING: Final = 0.01
_STRONGER: Final = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Moments:
    """Of the inputs x of one contraction over the calibration split, in float64.

    mean: (size,) E[x]; covariance: (size, size) E[(x - E[x]) (x - E[x])']; taps: how many entries each input has, next
    to each other: a kernel's where a convolution is unfolded, 1 otherwise; rows: how many inputs were looked at.
    """

    contraction: Contraction
    mean: Tensor
    covariance: Tensor
    taps: int
    rows: int

    @property
    def inputs(self) -> int:
        return len(self.mean) // self.taps

    @property
    def constant(self) -> bool:
        """Whether a constant in the result can be made up for, by a bias or by normalisation.

        Not for transposed convolutions: how many taps meet in a result depends on where it lies.
        """
        return not self.contraction.transposed and bool(self.contraction.bias or self.contraction.absorbed)

    @property
    def square(self) -> Tensor:
        """(size,) E[x^2]."""
        return self.covariance.diagonal() + self.mean.square()

    def solvable(self) -> Tensor:
        """What least squares are solved with: the covariance, or E[x x'] where no constant can be added."""
        return self.covariance if self.constant else self.covariance + torch.outer(self.mean, self.mean)

    def entries(self, inputs: Tensor) -> Tensor:
        """Where the given inputs stand in the moments, tap by tap."""
        return (inputs[:, None] * self.taps + torch.arange(self.taps)).flatten()

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as (rows, entries), float64."""
        return self.contraction.matrix(weight, self.taps).double().cpu()

    def restored(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """The weight of that shape from its `matrix`."""
        return self.contraction.restored(matrix, shape, self.taps)

    def shift(self, bias: Tensor, rows: Tensor) -> None:
        """Add one number a row of `matrix`, summed to one a result, to the bias, in place."""
        if self.constant:
            bias.add_(rows.view(len(bias), -1).sum(1).to(bias.device))


def second_moment(rows: Rows, tensors: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> Tensor:
    """E[z z'] of what a weight writes.

    Args:
        rows: Of the weight, n of them, one an axis.
        tensors: Weights and biases by name.
        moments: Of what enters the weights.

    Returns:
        (n, n) float64.
    """
    known, places = moments[rows.weight], torch.tensor(rows.places)
    matrix = known.matrix(tensors[rows.weight].detach())[places]
    mean = matrix @ known.mean
    if rows.bias:
        mean = mean + tensors[rows.bias].detach().double().cpu()[places]
    return matrix @ known.covariance @ matrix.T + torch.outer(mean, mean)


def ridged(moment: Tensor, damping: float = DAMPING) -> Tensor:
    """S + damping * mean diagonal of S * I; S (..., n, n)."""
    mean = moment.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return moment + damping * mean * torch.eye(moment.shape[-1], dtype=moment.dtype)


def factored(moment: Tensor, damping: float = DAMPING) -> Tensor | None:
    """The Cholesky factor of S (..., n, n) with a ridge, a stronger one where any is singular beyond it; None where
    none helps."""
    for factor in _STRONGER:
        lower: Tensor
        lower, info = torch.linalg.cholesky_ex(ridged(moment.double(), factor * damping))
        if not bool(info.any()):
            return lower
    return None
