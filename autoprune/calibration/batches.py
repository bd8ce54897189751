"""Batches in small pieces. Knows the usual forms of a batch; any other is left whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


def _together(left: Any, right: Any) -> Any:
    """Both batches as one; None where they are not made of tensors of the same shapes."""
    if type(left) is not type(right) or not _length(left) or not _length(right):
        return None
    if isinstance(left, Mapping):
        tied = _together(tuple(left.values()), tuple(right.values())) if left.keys() == right.keys() else None
        return None if tied is None else dict(zip(left, tied, strict=True))
    if isinstance(left, Tensor):
        return torch.cat([left, right]) if left.shape[1:] == right.shape[1:] else None
    if len(left) != len(right) or any(one.shape[1:] != other.shape[1:] for one, other in zip(left, right, strict=True)):
        return None
    return tuple(map(torch.cat, zip(left, right, strict=True)))


def _length(batch: Any) -> int:
    """The samples of a batch that is made of tensors with one first dimension; 0 of any other."""
    parts = (
        list(batch.values()) if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else [batch]
    )
    lengths = {len(part) if isinstance(part, Tensor) and part.dim() else 0 for part in parts}
    return lengths.pop() if len(lengths) == 1 else 0


def pieces(batch: Any, size: int) -> Iterator[Any]:
    """The batch, at most `size` samples at a time, where it is made of tensors with one first dimension."""
    length = _length(batch)
    if length <= size:
        yield batch
        return
    for start in range(0, length, size):
        cut = slice(start, start + size)
        if isinstance(batch, Mapping):
            yield {key: part[cut] for key, part in batch.items()}
        elif isinstance(batch, list | tuple):
            yield tuple(part[cut] for part in batch)
        else:
            yield batch[cut]
