"""Batches in small pieces. Knows the usual forms of a batch; any other is left whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor


def joined(batches: Iterable[Any], samples: int) -> Any:
    """About so many samples as one batch: as many batches as can be put together, or the first one as it is."""
    found: Any = None
    for batch in batches:
        if found is None:
            found = next(pieces(batch, samples))
        else:
            both = _together(found, batch)
            if both is None:
                break
            found = next(pieces(both, samples))
        if not _length(found) or _length(found) >= samples:
            break
    return found


@dataclass(frozen=True)
class Part:
    """Some batches of a split from all over it, as they are; only one of them is held at a time.

    Attributes:
        batches: All of them.
        places: Which of them, in order.
    """

    batches: Iterable[Any]
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Any]:
        wanted = set(self.places)
        for place, batch in enumerate(islice(self.batches, self.places[-1] + 1)):
            if place in wanted:
                yield batch


def thinned(batches: Iterable[Any], share: float, least: int) -> Part:
    """Some of the batches.

    Args:
        batches: All of them.
        share: Of all; one at least.
        least: Samples that are wanted in any case, where batches tell how many they have; all batches are taken to have
            as many as the first.
    """
    try:
        count = len(batches)  # type: ignore[arg-type]
    except TypeError:
        count = sum(1 for _ in batches)
    each = _length(next(iter(batches)))
    wanted = max(share, min(least / (each * count), 1.0) if each else share)
    chosen = max(math.ceil(wanted * count), 1)
    return Part(batches, tuple(place * count // chosen for place in range(chosen)))


def _together(left: Any, right: Any) -> Any:
    """Both batches as one; None where they are not made of tensors of the same shapes."""
    if type(left) is not type(right) or not _length(left) or not _length(right):
        return None
    if type(left) is dict:
        tied = _together(tuple(left.values()), tuple(right.values())) if left.keys() == right.keys() else None
        return None if tied is None else dict(zip(left, tied, strict=True))
    if isinstance(left, Tensor):
        return torch.cat([left, right]) if left.shape[1:] == right.shape[1:] else None
    if len(left) != len(right) or any(one.shape[1:] != other.shape[1:] for one, other in zip(left, right, strict=True)):
        return None
    return _like(left, map(torch.cat, zip(left, right, strict=True)))


def _like(batch: Any, parts: Iterable[Tensor]) -> Any:
    """A tuple, a list or a named tuple of the parts, as the batch is one."""
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _length(batch: Any) -> int:
    """The samples of a batch that is made of tensors with one first dimension; 0 of any other."""
    if isinstance(batch, Tensor):
        parts: Iterable[Any] = [batch]
    elif type(batch) is dict:
        parts = batch.values()
    elif type(batch) in (list, tuple) or hasattr(batch, "_fields"):
        parts = batch
    else:
        return 0
    lengths = {len(part) if isinstance(part, Tensor) and part.dim() else 0 for part in parts}
    return lengths.pop() if len(lengths) == 1 else 0


def pieces(batch: Any, size: int) -> Iterator[Any]:
    """The batch, at most `size` samples at a time, where it is made of tensors with one first dimension."""
    length = _length(batch)
    if length <= size:
        yield batch
        return
    for start in range(0, length, size):
        yield _sliced(batch, slice(start, start + size))


def divided(batch: Any, share: float) -> tuple[Any, Any]:
    """A share of a batch's samples, one at least, and the rest; None and the batch where it shows no two samples."""
    length = _length(batch)
    if length < 2:
        return None, batch
    first = max(round(share * length), 1)
    return _sliced(batch, slice(first)), _sliced(batch, slice(first, None))


def _sliced(batch: Any, cut: slice) -> Any:
    """The same samples of each of its parts."""
    if isinstance(batch, Tensor):
        return batch[cut]
    if type(batch) is dict:
        return {key: part[cut] for key, part in batch.items()}
    return _like(batch, (part[cut] for part in batch))
