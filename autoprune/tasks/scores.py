"""How well predictions agree with labels, each score with its interval. Knows logits and labels; no model, no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autoprune.core.measurement import Measurement

#: The normal quantile of a 95 % interval, and its ends.
_Z, _ENDS = 1.96, (0.025, 0.975)
#: How often samples are drawn again, and of how many draws confusion counts are held at a time.
_RESAMPLED, _TOGETHER = 400, 16
_TOP: Final = 5


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927)."""
    share = hits / count
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def cross_entropy(logits: Tensor, labels: Tensor) -> Measurement:
    """The mean over samples, with a normal interval.

    Args:
        logits: (N, classes).
        labels: (N,), whole numbers.
    """
    each = functional.cross_entropy(logits, labels, reduction="none").double()
    mean = float(each.mean())
    half = _Z * float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else 0.0
    return Measurement(metric="loss", value=mean, unit="1", low=mean - half, high=mean + half, n=len(each))


def accuracy(logits: Tensor, labels: Tensor) -> Measurement:
    """The share of samples whose label has the highest logit; arguments as in `cross_entropy`."""
    return _proportion("accuracy", int((logits.argmax(-1) == labels).sum()), len(labels))


def top5(logits: Tensor, labels: Tensor) -> Measurement:
    """The share of samples whose label is among the five highest logits; arguments as in `cross_entropy`."""
    best = logits.topk(min(_TOP, logits.shape[-1]), -1).indices
    return _proportion("top5", int((best == labels[:, None]).any(-1).sum()), len(labels))


def balanced_accuracy(logits: Tensor, labels: Tensor) -> Measurement:
    """The mean over classes of the share of their samples that are recognised; arguments as in `cross_entropy`."""
    return _resampled("balanced_accuracy", logits, labels, _mean_recall)


def f1(logits: Tensor, labels: Tensor) -> Measurement:
    """The mean of F1 over classes that are there or are predicted ("macro"); arguments as in `cross_entropy`."""
    return _resampled("f1", logits, labels, _mean_f1)


#: By name, what a classifier can be searched for; all lie between 0 and 1, more is better.
SCORES: Final[Mapping[str, Callable[[Tensor, Tensor], Measurement]]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "top5": top5,
}


def _proportion(name: str, hits: int, count: int) -> Measurement:
    low, high = wilson(hits, count)
    return Measurement(metric=name, value=hits / count, unit="1", low=low, high=high, n=count)


def _resampled(name: str, logits: Tensor, labels: Tensor, score: Callable[[Tensor], Tensor]) -> Measurement:
    """A score of confusion counts, with the percentile interval of the bootstrap (Efron 1979)."""
    classes = max(logits.shape[-1], int(labels.max()) + 1)
    cells = labels * classes + logits.argmax(-1)
    counts = torch.bincount(cells, minlength=classes**2).double()
    value = float(score(counts.reshape(1, classes, classes)))
    # Resampled samples are multinomial counts of the cells that occur.
    seen = counts.nonzero().flatten()
    shares = counts[seen].numpy() / len(labels)
    again = torch.from_numpy(np.random.default_rng(0).multinomial(len(labels), shares, _RESAMPLED))
    drawn = []
    for part in again.double().split(_TOGETHER):
        whole = torch.zeros(len(part), classes**2, dtype=torch.float64)
        whole[:, seen] = part
        drawn.append(score(whole.reshape(-1, classes, classes)))
    low, high = (float(end) for end in torch.cat(drawn).quantile(torch.tensor(_ENDS, dtype=torch.float64)))
    return Measurement(metric=name, value=value, unit="1", low=min(low, value), high=max(high, value), n=len(labels))


def _mean_recall(counts: Tensor) -> Tensor:
    """Of confusion counts (K, classes, classes): rows are labels, columns predictions."""
    hits, there = counts.diagonal(dim1=-2, dim2=-1), counts.sum(-1)
    return (hits / there.clamp(min=1)).sum(-1) / (there > 0).sum(-1)


def _mean_f1(counts: Tensor) -> Tensor:
    hits, both = counts.diagonal(dim1=-2, dim2=-1), counts.sum(-1) + counts.sum(-2)
    return (2 * hits / both.clamp(min=1)).sum(-1) / (both > 0).sum(-1)
