"""Repair layer after layer: each weight is fitted to what the dense one puts out, on the inputs that it really gets.

Knows one batch of the calibration split, on which the dense model has run once. The cut model runs on it once, too:
just before a weight is used, it is fitted by least squares to the dense results at the same places (He et al. 2017,
sec. 3.2), with a ridge that pulls to the weight as it is; so what comes after sees what was repaired before. BatchNorm
takes its statistics from this run, in sequence with the weights. What dropped layers added to a residual stream is for
the next weight that adds to it; what that one cannot add, for the one after it, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.calibration.activation_sampling import sampled, unfolds
from autoprune.calibration.batches import joined
from autoprune.criteria import ridged
from autoprune.recovery.batchnorm import lone, recalibrate, renewed
from autoprune.recovery.solve import masked, solved
from autoprune.surgery import Traced
from autoprune.surgery.contractions import Contraction, ContractionWatch, unfused
from autoprune.surgery.example import Example
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions
from autoprune.surgery.modes import evaluating
from autoprune.surgery.streams import StreamWatch
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
#: Rows that tell whether a weight needs fitting, and the share of the results' spread up to which it does not.
_PROBE, _NEAR = 256, 1e-3
#: Entries of a weight that is still fitted for each candidate, and bytes of all dense results.
_WIDEST, _BYTES = 2304, 1 << 30


class Sequential:
    """Repairs models that were cut from one task's model."""

    def __init__(self, task: Task, traced: Traced) -> None:
        self._task, self._traced = task, traced
        self._reading = {**traced.reading, **traced.grouped}
        self._dense = {name: tensor.detach() for name, tensor in named_tensors(task.model)}
        whole, first = _choices(task)
        self._streams = self._summed(first) if traced.layers else {}
        try:
            self._targets, self._batch = self._observed(whole), whole
        except Exception:  # batches that cannot be put together after all: one is enough
            self._targets, self._batch = self._observed(first), first

    def _summed(self, batch: Any) -> dict[str, tuple[str, ...]]:
        """By weight, those that write into the same stream of the dense model."""
        model = self._task.model
        watch = StreamWatch(dict(named_tensors(model)))
        with evaluating(model), torch.no_grad(), unfused(), watch:
            self._task.forward(model, batch)
        return watch.streams

    def _observed(self, batch: Any) -> dict[str, Tensor]:
        """What each weight of the dense model puts out at the sampled places."""
        targets: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()
        spent = 0

        def see(contraction: Contraction, inputs: Tensor) -> None:
            nonlocal spent
            name = contraction.weight
            calls[name] += 1
            if name not in self._reading or calls[name] > 1 or not self._fits(contraction):
                return
            rows = self._rows(contraction, inputs)
            matrix = self._matrices(contraction, self._dense[name])
            spent += 4 * rows.shape[1] * self._dense[name].shape[1 - contraction.dim]
            if spent <= _BYTES:
                targets[name] = (rows @ matrix.mT).movedim(0, 1).flatten(1)

        model = self._task.model
        with evaluating(model), torch.no_grad(), unfused(), ContractionWatch(dict(named_tensors(model)), see):
            self._task.forward(model, batch)
        # A weight of two layers has two results to fit: it is left as it is.
        return {name: each for name, each in targets.items() if calls[name] == 1 and bool(torch.isfinite(each).all())}

    def repair(
        self,
        model: nn.Module,
        slices: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        scales: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Replace weights, biases and BatchNorm statistics, in place. scales: by what the dense tensors are multiplied,
        by name."""
        own = dict(named_tensors(model))
        lacking: dict[str, Tensor] = {}

        def fit(contraction: Contraction, inputs: Tensor) -> None:
            if contraction.weight in self._targets:
                reading = replace(self._reading[contraction.weight], groups=contraction.groups)
                self._fit(own, reading, inputs=inputs, slices=slices, masks=masks, scales=scales, lacking=lacking)

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
        scales: Mapping[str, Tensor],
        lacking: dict[str, Tensor],
    ) -> None:
        """lacking: by weight, what the stream that it writes into lacks after it, (rows, results); this one's is put
        there."""
        name = contraction.weight
        weight, bias, target = own[name], own.get(contraction.bias), self._targets[name]
        target = target * scales[name].flatten() if name in scales else target
        results = positions(self._traced.layouts[name][1 - contraction.dim], slices)
        target = target if results is None else target[:, results]
        rows, matrix = self._rows(contraction, inputs), self._matrices(contraction, weight)
        count, entries = rows.shape[1:]
        # Fewer rows than unknowns; or others than the dense model's, where inputs choose among experts.
        if count != len(target) or not entries <= min(count, _WIDEST):
            return
        owed = self._owed(name, own, results, lacking)
        target = target if owed is None else target + owed
        constant = bias is not None or contraction.absorbed
        target = target.unflatten(1, (len(matrix), -1)).movedim(1, 0)
        few = target[:, :_PROBE] - rows[:, :_PROBE] @ matrix.mT
        if owed is None and _negligible(few, target[:, :_PROBE], constant=constant):
            if bias is not None:
                bias.copy_(self._dense_bias(contraction, results, scales) + few.mean(1).flatten().to(bias.device))
            return
        error = target - rows @ matrix.mT
        middle, drift = rows.mean(1, keepdim=True) * constant, error.mean(1, keepdim=True) * constant
        centred = rows - middle
        moment = (centred.mT @ centred / count).double()
        across = (centred.mT @ (error - drift) / count).double()
        ridge = max(_RIDGE, _SCARCE * entries / count)
        if name in masks:
            kept = contraction.matrix(masks[name], self._taps(contraction)).cpu()
            change = masked(torch.zeros_like(across[0].T), across[0].T, kept, ridged(moment[0], ridge))[None]
        else:
            change = solved(moment + _still(moment), across, ridge).mT
        if not all(bool(torch.isfinite(each).all()) for each in (change, middle, drift)):
            return
        repaired = (matrix + change.float()).flatten(0, 1)
        weight.copy_(contraction.restored(repaired, weight.shape, self._taps(contraction)))
        if bias is not None:
            dense = self._dense_bias(contraction, results, scales)
            bias.copy_(dense + (drift - middle @ change.float().mT).flatten().to(dense.device))
        if owed is not None:
            lacking[name] = (error - drift - centred @ change.float().mT).movedim(0, 1).flatten(1)

    def _owed(
        self, name: str, own: Mapping[str, Tensor], results: Tensor | None, lacking: Mapping[str, Tensor]
    ) -> Tensor | None:
        """What the stream that a weight writes into lacks before it since a layer was dropped; None for nothing."""
        owed: Tensor | None = None
        stream = self._streams.get(name, ())
        for other in reversed(stream[: stream.index(name)] if stream else ()):
            if other in lacking:
                return lacking[other] if owed is None else owed + lacking[other]
            written = None if other in own else self._targets.get(other)
            if written is not None and written.shape == self._targets[name].shape:
                bias = self._dense.get(self._reading[other].bias)
                written = written if bias is None else written + bias.float().cpu()
                written = written if results is None else written[:, results]
                owed = written if owed is None else owed + written
        return owed

    def _dense_bias(self, contraction: Contraction, results: Tensor | None, scales: Mapping[str, Tensor]) -> Tensor:
        """The dense bias of the results that are left."""
        dense = self._dense[contraction.bias]
        dense = dense * scales[contraction.bias].to(dense) if contraction.bias in scales else dense
        return dense if results is None else dense[results.to(dense.device)]

    def _rows(self, contraction: Contraction, inputs: Tensor) -> Tensor:
        """(groups, rows, entries): the same places for the dense and for any cut model."""
        weight = self._dense[contraction.weight]
        entries = weight.shape[contraction.dim] * self._taps(contraction)
        for name in self._streams.get(contraction.weight, ()):  # results at the same places can be added
            entries = max(entries, self._dense[name].shape[self._reading[name].dim] if name in self._reading else 0)
        wanted = _ROWS_PER_ENTRY * entries + _ROWS
        drawn = torch.Generator().manual_seed(0)
        rows = sampled(
            contraction, inputs, weight=weight, wanted=wanted, generator=drawn, unfolded=unfolds(contraction, weight)
        ).cpu()
        parts = contraction.groups
        return rows.reshape(len(rows), parts, rows.shape[1] // parts).movedim(1, 0)

    def _matrices(self, contraction: Contraction, weight: Tensor) -> Tensor:
        """(groups, results, entries)."""
        matrix = contraction.matrix(weight, self._taps(contraction)).float().cpu()
        return matrix.reshape(contraction.groups, -1, matrix.shape[1])

    def _taps(self, contraction: Contraction) -> int:
        weight = self._dense[contraction.weight]
        return weight.shape[2:].numel() if unfolds(contraction, weight) else 1

    def _fits(self, contraction: Contraction) -> bool:
        """Whether a row of inputs decides a result: not for wide kernels, whose taps are not unfolded."""
        weight = self._dense[contraction.weight]
        return unfolds(contraction, weight) or weight.shape[2:].numel() == 1


def _negligible(error: Tensor, target: Tensor, *, constant: bool) -> bool:
    """Whether results are so near to the dense ones that fitting gains nothing: what was cut comes later, or does not
    matter here. constant: a constant between them does not count."""
    error = error - error.mean(1, keepdim=True) if constant else error
    spread = (target - target.mean(1, keepdim=True)).square().sum()
    return bool(error.square().sum() <= _NEAR * spread)


def _still(moment: Tensor) -> Tensor:
    """Ones on the diagonal where the inputs of a group never change, which no ridge makes regular."""
    never = moment.diagonal(dim1=-2, dim2=-1).sum(-1) == 0
    return never[..., None, None] * torch.eye(moment.shape[-1], dtype=moment.dtype)


def _choices(task: Task) -> tuple[Any, Any]:
    """Batches to run at once: one of as many samples as are wanted, and the first one as it is."""
    batches = iter(task.batches("calibration"))
    first = next(batches)
    tensors = Example.of((first,)).tensors
    if not tensors or not tensors[0].dim() or not tensors[0].numel():
        return joined(chain([first], batches), SAMPLES), first
    numbers = tensors[0].is_floating_point()
    most = (_NUMBERS if numbers else _TOKENS) // tensors[0][0].numel()
    samples = max(min(SAMPLES, most), min(len(tensors[0]), SAMPLES) if numbers else 1)
    return joined(chain([first], batches), samples), first
