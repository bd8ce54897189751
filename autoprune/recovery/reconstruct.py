"""Least-squares repair: what was cut is written as a combination of what is left, and folded into the weights.

Knows moments of the dense model's inputs; runs no model. With inputs x of a weight W, of which K are kept and R
removed, x_R is nearest to C x_K + c for C = S_RK (S_KK + l I)^-1 (normal equations; S the covariance, or E[x x'] where
no constant can be added), so W'_K = W_K + W_R C and b' = b + W_R (E[x_R] - C E[x_K]): the least-squares weights,
whatever W is (He et al. 2017, eq. 2, with W eliminated). For convolutions whose taps share one moment a channel, C
mixes whole channels at one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from autoprune.criteria import DAMPING, Moments
from autoprune.recovery.solve import solved
from autoprune.surgery import Traced
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions

#: Bytes of coefficients that are kept.
_REMEMBERED: Final = 512 << 20


def coefficients(moments: Moments, inside: Tensor, outside: Tensor) -> Tensor:
    """C (removed, kept) of the module's first lines, of entries `outside` and `inside`."""
    moment = moments.solvable()
    return solved(moment[inside][:, inside], moment[inside][:, outside], DAMPING).T


class Reconstruction:
    """Repairs models that were cut from one dense model. Coefficients are kept: plans that share a level share them.

    combine: whether removed inputs are combinations of kept ones, or only their means (for the bias: FLAP, An et al.
    2024).
    """

    def __init__(
        self, dense: nn.Module, traced: Traced, moments: Mapping[str, Moments], *, combine: bool = True
    ) -> None:
        self._dense = {name: tensor.detach() for name, tensor in named_tensors(dense)}
        self._traced, self._moments, self._combine = traced, moments, combine
        self._known: dict[tuple[str, bytes], Tensor] = {}
        self._size = 0

    def repair(
        self, model: nn.Module, slices: Mapping[str, Tensor], scales: Mapping[str, Tensor] = MappingProxyType({})
    ) -> None:
        """Replace weights and biases, in place. slices: what was kept of each group that was cut; scales: by what the
        dense tensors are multiplied, by name."""
        own = dict(named_tensors(model))
        with torch.no_grad():
            for name, moments in self._moments.items():
                kept = positions(self._traced.layouts[name][moments.contraction.dim], slices)
                if kept is not None and name in own:
                    self._repair(own, moments, kept, slices, scales)

    def _repair(
        self,
        own: Mapping[str, Tensor],
        moments: Moments,
        kept: Tensor,
        slices: Mapping[str, Tensor],
        scales: Mapping[str, Tensor],
    ) -> None:
        name, dim = moments.contraction.weight, moments.contraction.dim
        inside, outside = moments.entries(kept), moments.entries(_others(kept, moments.inputs))
        weight = self._dense[name]
        weight = weight * scales[name].to(weight) if name in scales else weight
        chosen = positions(self._traced.layouts[name][1 - dim], slices)
        if chosen is not None:
            weight = weight.index_select(1 - dim, chosen.to(weight.device))
        matrix = moments.matrix(weight)
        lost = matrix[:, outside]
        gone = moments.mean[outside]
        if self._combine:
            factors = self._factors(moments, inside, outside)
            own[name].copy_(moments.restored(matrix[:, inside] + lost @ factors, own[name].shape))
            gone = gone - factors @ moments.mean[inside]
        bias = own.get(moments.contraction.bias)
        if bias is not None:
            moments.shift(bias, lost @ gone)

    def _factors(self, moments: Moments, inside: Tensor, outside: Tensor) -> Tensor:
        """Coefficients, kept for the next plan that leaves the same of this weight's inputs."""
        key = moments.contraction.weight, inside.numpy().tobytes()
        found = self._known.get(key)
        if found is None:
            found = coefficients(moments, inside, outside).float()
            self._size += found.numel() * found.element_size()
            while self._known and self._size > _REMEMBERED:
                oldest = self._known.pop(next(iter(self._known)))
                self._size -= oldest.numel() * oldest.element_size()
            self._known[key] = found
        return found.double()


def _others(kept: Tensor, size: int) -> Tensor:
    left = torch.ones(size, dtype=torch.bool)
    left[kept] = False
    return left.nonzero()[:, 0]
