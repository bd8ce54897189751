"""Least squares from normal equations. Knows symmetric matrices; not what they are moments of."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from autoprune.criteria import DAMPING, factored

#: Conjugate gradients: steps at most, and the share of the first residual that ends them.
_STEPS: Final = 32
_ENOUGH: Final = 1e-6


def solved(moment: Tensor, right: Tensor, damping: float = DAMPING) -> Tensor:
    """(S + ridge)^-1 B in float64; zeros where S is so singular that no ridge helps.

    moment: (..., n, n); right: (..., n, m); damping: the ridge as a share of the mean of the diagonal.
    """
    lower = factored(moment, damping)
    if lower is not None:
        found = torch.cholesky_solve(right.double(), lower)
        if torch.isfinite(found).all():
            return found
    return torch.zeros_like(right, dtype=torch.float64)


def masked(start: Tensor, residual: Tensor, mask: Tensor, moment: Tensor) -> Tensor:
    """Least squares over the entries that a mask leaves, each row by itself, by preconditioned conjugate gradients.

    start: (rows, entries), zero outside the mask; residual: (rows, entries), minus half the gradient of the squared
    error there; moment: (entries, entries), positive on its diagonal. Each step lowers the error.
    """
    scale = moment.diagonal()
    solution, residual = start, residual * mask
    scaled = residual / scale
    direction, strength = scaled, (residual * scaled).sum(1)
    first = strength
    for _ in range(_STEPS):
        if not bool((strength > _ENOUGH**2 * first).any()):
            break
        pushed = (direction @ moment) * mask
        step = _quotient(strength, (direction * pushed).sum(1))
        solution = solution + step[:, None] * direction
        residual = residual - step[:, None] * pushed
        scaled = residual / scale
        following = (residual * scaled).sum(1)
        direction, strength = scaled + _quotient(following, strength)[:, None] * direction, following
    return solution


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below.clamp_min(torch.finfo(below.dtype).tiny), torch.zeros_like(below))
