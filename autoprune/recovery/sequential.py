"""Healing layer after layer: each weight is fitted to what the dense one puts out, on the inputs that it really gets.

Knows one batch of the calibration split, on which the dense model has run once. The cut model runs on it once, too:
just before a weight is used, it is fitted by least squares to the dense results at the same places (He et al. 2017,
sec. 3.2), with a ridge that pulls to the weight as it is; so what comes after sees what was healed before. BatchNorm
takes its statistics from this run, in sequence with the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.calibration.batches import joined
from autoprune.calibration.rows import sampled, unfolds
from autoprune.recovery.batchnorm import renewed
from autoprune.recovery.solve import masked, ridged, solved
from autoprune.surgery import Traced
from autoprune.surgery.contractions import Contraction, ContractionWatch, unfused
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

SAMPLES: Final = 192
_RIDGE: Final = 0.01
#: Rows that a weight is fitted on: so many an entry, and so many in any case.
_ROWS_PER_ENTRY, _ROWS = 2, 1024


class Sequential:
    """Heals models that were cut from one task's model."""

    def __init__(self, task: Task, traced: Traced) -> None:
        self._task, self._traced = task, traced
        self._dense = {name: tensor.detach() for name, tensor in named_tensors(task.model)}
        self._batch: Any = joined(task.split("calibration"), SAMPLES)
        self._targets: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()

        def see(contraction: Contraction, inputs: Tensor) -> None:
            name = contraction.weight
            calls[name] += 1
            if name in traced.reading and calls[name] == 1 and self._fits(contraction):
                matrix = contraction.matrix(self._dense[name], self._taps(contraction))
                self._targets[name] = self._rows(contraction, inputs) @ matrix.float().T

        with evaluating(task.model), torch.no_grad(), unfused(), ContractionWatch(dict(named_tensors(task.model)), see):
            task.forward(task.model, self._batch)
        for name, count in calls.items():  # a weight of two layers has two results to fit: it is left as it is
            if count > 1 or not torch.isfinite(self._targets.get(name, torch.zeros(1))).all():
                self._targets.pop(name, None)

    def heal(self, model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Replace weights, biases and BatchNorm statistics, in place."""
        own = dict(named_tensors(model))

        def fit(contraction: Contraction, inputs: Tensor) -> None:
            if contraction.weight in self._targets:
                self._fit(own, self._traced.reading[contraction.weight], inputs, slices, masks)

        with renewed(model), torch.no_grad(), unfused(), ContractionWatch(own, fit):
            self._task.forward(model, self._batch)

    def _fit(
        self,
        own: Mapping[str, Tensor],
        contraction: Contraction,
        inputs: Tensor,
        slices: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
    ) -> None:
        name, taps = contraction.weight, self._taps(contraction)
        weight, bias, target = own[name], own.get(contraction.bias), self._targets[name]
        results = positions(self._traced.layouts[name][1 - contraction.dim], slices)
        target = target if results is None else target[:, results]
        rows = self._rows(contraction, inputs)
        matrix = contraction.matrix(weight, taps).float().cpu()
        error = target - rows @ matrix.T
        constant = bias is not None or contraction.absorbed
        middle, drift = rows.mean(0) * constant, error.mean(0) * constant
        moment = ((rows - middle).T @ (rows - middle) / len(rows)).double()
        across = ((rows - middle).T @ (error - drift) / len(rows)).double()
        if name in masks:
            kept = contraction.matrix(masks[name], taps).cpu()
            change = masked(torch.zeros_like(across.T), across.T, kept, ridged(moment, _RIDGE))
        else:
            change = solved(moment, across, _RIDGE).T
        if not torch.isfinite(change).all():
            return
        weight.copy_(contraction.restored(matrix + change.float(), weight.shape, taps))
        if bias is not None:
            dense = self._dense[contraction.bias]
            dense = dense if results is None else dense[results.to(dense.device)]
            bias.copy_(dense + (drift - change.float() @ middle).to(dense.device))

    def _rows(self, contraction: Contraction, inputs: Tensor) -> Tensor:
        """The same places for the dense and for any cut model."""
        weight = self._dense[contraction.weight]
        wanted = _ROWS_PER_ENTRY * weight.shape[contraction.dim] * self._taps(contraction) + _ROWS
        drawn = torch.Generator().manual_seed(0)
        return sampled(contraction, inputs, weight, wanted, drawn, unfolds(contraction, weight)).cpu()

    def _taps(self, contraction: Contraction) -> int:
        weight = self._dense[contraction.weight]
        return weight.shape[2:].numel() if unfolds(contraction, weight) else 1

    def _fits(self, contraction: Contraction) -> bool:
        """Whether a row of inputs decides a result: not for wide kernels, whose taps are not unfolded."""
        weight = self._dense[contraction.weight]
        return unfolds(contraction, weight) or weight.shape[2:].numel() == 1
