"""Means and second moments of what enters each weight, from one pass over the calibration split.

Knows how a sample of rows is drawn so that time and memory stay bounded; nothing is kept of a single sample. Not what
the moments are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

import torch
from torch import Tensor

from autoprune.calibration.activation_sampling import sampled, unfolds
from autoprune.core.reporter import SILENT, Reporter
from autoprune.criteria import Moments
from autoprune.surgery.contractions import Contraction, ContractionWatch, unfused
from autoprune.surgery.find import named_tensors
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

BATCHES: Final = 100
#: Rows that are looked at of one batch: so many an input, and so many in any case.
_ROWS_PER_INPUT, _ROWS = 2, 1024
#: More entries than this have no moments, nor have those that come when all together have taken so many bytes.
_LARGEST: Final = 8192
_BYTES: Final = 4 << 30


def gather(task: Task, reading: Mapping[str, Contraction], reporter: Reporter = SILENT) -> dict[str, Moments]:
    """Moments of what enters each of the weights, by weight; one pass over at most `BATCHES` batches.

    Left out are weights that the calibration split does not use, whose inputs are not finite, or that are too wide.
    """
    tensors = dict(named_tensors(task.model))
    sums = _Sums(tensors, reading)
    watch = ContractionWatch(tensors, sums.add)
    split = task.batches("calibration")
    try:
        most = min(len(split), BATCHES)  # type: ignore[arg-type]
    except TypeError:  # a stream does not know its end
        most = BATCHES
    with evaluating(task.model), torch.no_grad(), unfused(), reporter.track("inputs of weights", most) as advance:
        for batch in islice(split, BATCHES):
            sums.open()
            with watch:
                task.forward(task.model, batch)
            advance("")
    return sums.moments()


class _Sums:
    """Running sums; weights that are given the same tensor share theirs."""

    def __init__(self, tensors: Mapping[str, Tensor], reading: Mapping[str, Contraction]) -> None:
        self._tensors, self._reading = tensors, reading
        self._bytes = 0
        self._generator = torch.Generator().manual_seed(0)
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        self._middles: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}
        self._owner: dict[str, str] = {}
        self._last: tuple[str, Tensor, int] | None = None

    def open(self) -> None:
        """A new batch."""
        self._last = None

    def add(self, contraction: Contraction, inputs: Tensor) -> None:
        name = contraction.weight
        if name not in self._reading or self._reading[name].dim != contraction.dim or not inputs.numel():
            return
        shared = self._shared(contraction, inputs)
        if self._owner.setdefault(name, shared or name) != name:
            return
        self._last = (name, inputs, inputs._version)
        unfolded = unfolds(contraction, self._tensors[name])
        size = inputs.shape[1] * (self._tensors[name].shape[2:].numel() if unfolded else 1)
        if size > _LARGEST or (name not in self._sums and self._bytes + 8 * size**2 > _BYTES):
            return
        wanted = _ROWS_PER_INPUT * size + _ROWS
        rows = sampled(
            contraction, inputs, weight=self._tensors[name], wanted=wanted, generator=self._generator, unfolded=unfolded
        )
        if name not in self._sums:
            self._bytes += 8 * size**2
            self._sums[name] = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
            self._rows[name] = 0
            self._middles[name] = rows.mean(0)  # near the mean, so that no large sums are subtracted in the end
        mean, second = self._sums[name]
        rows = rows - self._middles[name]
        mean += rows.sum(0).double().cpu()
        second += (rows.T @ rows).double().cpu()
        self._rows[name] += len(rows)

    def moments(self) -> dict[str, Moments]:
        moments: dict[str, Moments] = {}
        means = {name: (a / self._rows[name], b / self._rows[name]) for name, (a, b) in self._sums.items()}
        for name, owner in self._owner.items():
            if owner in means:
                off, second = means[owner]
                if torch.isfinite(off).all() and torch.isfinite(second).all():
                    mean, covariance = off + self._middles[owner].double().cpu(), second - torch.outer(off, off)
                    taps = len(mean) // self._tensors[name].shape[self._reading[name].dim]
                    moments[name] = Moments(self._reading[name], mean, covariance, taps, self._rows[owner])
        return moments

    def _shared(self, contraction: Contraction, inputs: Tensor) -> str:
        """The weight that has just been given the very same numbers; empty where there is none."""
        if contraction.stride or self._last is None:
            return ""
        name, held, version = self._last
        same = held.data_ptr() == inputs.data_ptr() and held.shape == inputs.shape and held._version == version
        return name if same else ""
