"""Healing layer after layer: each weight is fitted to what the dense one puts out, on the inputs that it really gets.

Knows one batch of the calibration split, on which the dense model has run once. The cut model runs on it once, too:
just before a weight is used, it is fitted by least squares to the dense results at the same places (He et al. 2017,
sec. 3.2), with a ridge that pulls to the weight as it is; so what comes after sees what was healed before. BatchNorm
takes its statistics from this run, in sequence with the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.calibration.batches import joined
from autoprune.calibration.rows import sampled, unfolds
from autoprune.criteria import ridged
from autoprune.recovery.batchnorm import lone, recalibrate, renewed
from autoprune.recovery.solve import masked, solved
from autoprune.surgery import Traced
from autoprune.surgery.contractions import Contraction, ContractionWatch, unfused
from autoprune.surgery.example import Example
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

#: Samples that run at once, or fewer whose tokens or numbers are so many; a user's batches were chosen to fit.
SAMPLES: Final = 192
_TOKENS: Final = 8192
_NUMBERS: Final = 2**25
_RIDGE: Final = 0.01
#: Rows that a weight is fitted on: so many an entry, and so many in any case.
_ROWS_PER_ENTRY, _ROWS = 2, 1024
#: The ridge for as many entries as rows: few rows say more of themselves than of the data.
_SCARCE: Final = 0.5
#: Entries of a weight that is still fitted for each candidate, and bytes of all dense results.
_WIDEST, _BYTES = 2304, 1 << 30


class Sequential:
    """Heals models that were cut from one task's model."""

    def __init__(self, task: Task, traced: Traced) -> None:
        self._task, self._traced = task, traced
        self._dense = {name: tensor.detach() for name, tensor in named_tensors(task.model)}
        whole, first = _choices(task)
        try:
            self._targets, self._batch = self._seen(whole), whole
        except Exception:  # batches that cannot be put together after all: one is enough
            self._targets, self._batch = self._seen(first), first

    def _seen(self, batch: Any) -> dict[str, Tensor]:
        """What each weight of the dense model puts out at the sampled places."""
        targets: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()
        spent = 0

        def see(contraction: Contraction, inputs: Tensor) -> None:
            nonlocal spent
            name = contraction.weight
            calls[name] += 1
            if name not in self._traced.reading or calls[name] > 1 or not self._fits(contraction):
                return
            rows = self._rows(contraction, inputs)
            matrix = contraction.matrix(self._dense[name], self._taps(contraction)).float().cpu()
            spent += 4 * len(rows) * len(matrix)
            if spent <= _BYTES:
                targets[name] = rows @ matrix.T

        model = self._task.model
        with evaluating(model), torch.no_grad(), unfused(), ContractionWatch(dict(named_tensors(model)), see):
            self._task.forward(model, batch)
        # A weight of two layers has two results to fit: it is left as it is.
        return {name: each for name, each in targets.items() if calls[name] == 1 and bool(torch.isfinite(each).all())}

    def heal(self, model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Replace weights, biases and BatchNorm statistics, in place."""
        own = dict(named_tensors(model))

        def fit(contraction: Contraction, inputs: Tensor) -> None:
            if contraction.weight in self._targets:
                self._fit(own, self._traced.reading[contraction.weight], inputs, slices, masks)

        run = partial(self._task.forward, model, self._batch)
        if lone(self._batch):
            with evaluating(model), torch.no_grad(), unfused(), ContractionWatch(own, fit):
                run()
            recalibrate(model, self._task)
            return
        with renewed(model) as enough, torch.no_grad(), unfused(), ContractionWatch(own, fit):
            run()
        if not enough():
            recalibrate(model, self._task)

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
        # Fewer rows than unknowns; or others than the dense model's, where inputs choose among experts.
        if len(rows) != len(target) or not matrix.shape[1] <= min(len(rows), _WIDEST):
            return
        error = target - rows @ matrix.T
        constant = bias is not None or contraction.absorbed
        middle, drift = rows.mean(0) * constant, error.mean(0) * constant
        moment = ((rows - middle).T @ (rows - middle) / len(rows)).double()
        across = ((rows - middle).T @ (error - drift) / len(rows)).double()
        ridge = max(_RIDGE, _SCARCE * len(moment) / len(rows))
        if name in masks:
            kept = contraction.matrix(masks[name], taps).cpu()
            change = masked(torch.zeros_like(across.T), across.T, kept, ridged(moment, ridge))
        else:
            change = solved(moment, across, ridge).T
        if not all(bool(torch.isfinite(each).all()) for each in (change, middle, drift)):
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


def _choices(task: Task) -> tuple[Any, Any]:
    """Batches to run at once: one of as many samples as are wanted, and the first one as it is."""
    first = next(iter(task.split("calibration")))
    tensors = Example.of((first,)).tensors
    if not tensors or not tensors[0].dim() or not tensors[0].numel():
        return joined(task.split("calibration"), SAMPLES), first
    numbers = tensors[0].is_floating_point()
    most = (_NUMBERS if numbers else _TOKENS) // tensors[0][0].numel()
    samples = max(min(SAMPLES, most), min(len(tensors[0]), SAMPLES) if numbers else 1)
    return joined(task.split("calibration"), samples), first
