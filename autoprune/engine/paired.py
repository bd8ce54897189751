"""Two models on the same data, piece by piece. Knows a task's quality and pairs of scores; not why it is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from autoprune.calibration.batches import pieces
from autoprune.errors import TaskError
from autoprune.tasks.task import Task

#: Pieces that a split is cut into, about; of one sample each where there are no more samples.
_PIECES: Final = 256
_RESAMPLES: Final = 9999
_TAIL: Final = 2.5


@dataclass(frozen=True, kw_only=True)
class Paired:
    """By how much one model is better than another one on the same pieces of data.

    Attributes:
        metric: The task's quality.
        split: Of the data.
        one: The score of the one on the whole split.
        one_low: End of its 95 % interval (pieces resampled).
        one_high: The other end.
        other: That of the other one.
        gain: By how much the other one is better, on average over pieces, in the metric's unit; below 0 where it is
            worse, whichever way the metric goes.
        low: End of its 95 % interval (pieces resampled).
        high: The other end.
        p_value: Of the hypothesis that the other one is no better: the share of sign flips of the pieces' differences
            with at least that gain (Fisher 1935, "The Design of Experiments", section 21).
        pieces: That were compared.
    """

    metric: str
    split: str
    one: float
    one_low: float
    one_high: float
    other: float
    gain: float
    low: float
    high: float
    p_value: float
    pieces: int


def paired(task: Task, split: str, one: nn.Module, other: nn.Module) -> Paired:
    """Compare two models on a split.

    Raises:
        TaskError: the task cannot score a batch of the split alone.
    """
    quality = task.quality
    try:
        scores = _scored(task, split, _small(task, split), one, other)
    except TaskError:  # such as an area under a curve, which one sample does not have
        scores = _scored(task, split, iter(task.split(split)), one, other)
    gains = (scores[:, 1] - scores[:, 0]) * (-1 if quality.lower_is_better else 1)
    rng, count, gain = np.random.default_rng(0), len(gains), float(gains.mean())
    chosen = rng.integers(count, size=(_RESAMPLES, count))
    flipped = (gains * rng.choice((-1.0, 1.0), size=(_RESAMPLES, count))).mean(1)
    ends = [np.percentile(each[chosen].mean(1), (_TAIL, 100 - _TAIL)).tolist() for each in (scores[:, 0], gains)]
    return Paired(
        metric=quality.name,
        split=split,
        one=task.score(one, split)[quality.name].value,
        one_low=ends[0][0],
        one_high=ends[0][1],
        other=task.score(other, split)[quality.name].value,
        gain=gain,
        low=ends[1][0],
        high=ends[1][1],
        p_value=float((1 + (flipped >= gain - 1e-12).sum()) / (1 + _RESAMPLES)),
        pieces=count,
    )


def _small(task: Task, split: str) -> Iterator[Any]:
    """A split in about `_PIECES` pieces, as far as its batches can be cut."""
    batches = list(task.split(split))
    each = max(_PIECES // len(batches), 1)
    for batch in batches:
        samples = len(list(pieces(batch, 1)))
        yield from pieces(batch, math.ceil(samples / each))


def _scored(task: Task, split: str, parts: Iterator[Any], *models: nn.Module) -> Any:
    """(pieces, models) the quality."""
    name = task.quality.name
    return np.array(
        [
            [alone.score(model, split)[name].value for model in models]
            for alone in (task.with_split(split, [part]) for part in parts)
        ]
    )
