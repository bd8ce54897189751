"""Repair of weights that were thinned out: those that are left are fitted again to what the whole ones put out.

Knows the moments S of a weight's inputs; runs no model. Each row solves min (w - w0)' S (w - w0) over the elements that
its mask leaves, by conjugate gradients on all rows at once, preconditioned by the diagonal (as ALPS, Meng et al. 2024,
sec. 3.2): each step lowers the error, so that the result is never worse than the masked weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.criteria import Moments, ridged
from autoprune.recovery.solve import masked
from autoprune.surgery import Traced
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions


def fitted(weights: Tensor, mask: Tensor, moment: Tensor) -> Tensor:
    """The masked weights (rows, entries) nearest in output to the whole ones; moment: (entries, entries)."""
    moment = ridged(moment)
    if not bool((moment.diagonal() > 0).all()):
        return weights * mask
    return masked(weights * mask, (weights * ~mask) @ moment, mask, moment)


class Refit:
    """Fits thinned weights of models that were cut from one dense model."""

    def __init__(self, traced: Traced, moments: Mapping[str, Moments]) -> None:
        self._traced, self._moments = traced, moments

    def repair(self, model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Replace the weights of the masks, in place; those without moments are left to be masked."""
        own = dict(named_tensors(model))
        for name, mask in masks.items():
            if name in self._moments and name in own:
                with torch.no_grad():
                    self._repair(own, mask, self._moments[name], slices)

    def _repair(self, own: Mapping[str, Tensor], mask: Tensor, moments: Moments, slices: Mapping[str, Tensor]) -> None:
        weight, dim = own[moments.contraction.weight], moments.contraction.dim
        moment, mean = moments.solvable(), moments.mean
        kept = positions(self._traced.layouts[moments.contraction.weight][dim], slices)
        if kept is not None:
            inside = moments.entries(kept)
            moment, mean = moment[inside][:, inside], mean[inside]
        whole = moments.matrix(weight)
        repaired = fitted(whole, moments.matrix(mask).bool(), moment)
        weight.copy_(moments.restored(repaired, weight.shape))
        bias = own.get(moments.contraction.bias)
        if bias is not None:
            moments.shift(bias, (whole - repaired) @ mean)
