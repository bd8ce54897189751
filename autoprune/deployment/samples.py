"""Some samples of a call, and results of several put together. Knows which tensors have samples; not models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from autoprune.surgery.example import Example


def batched(tensor: Tensor, batch: int) -> bool:
    """Whether its first dimension is that of samples."""
    return tensor.dim() > 0 and len(tensor) == batch


def rows(example: Example, batch: int, places: Tensor) -> Example:
    """Samples of a call with `batch` of them. places: theirs, (N,) int64."""
    return example.map(lambda tensor: tensor[places] if batched(tensor, batch) else tensor)


def requests(example: Example, batch: int, size: int) -> Iterator[Example]:
    """A call with `batch` samples as calls with `size` each; the last may have fewer."""
    for start in range(0, batch, size):
        yield rows(example, batch, torch.arange(start, min(start + size, batch)))


def replaced(out: Any, other: Any, batch: int, places: Tensor) -> Any:
    """Results of `batch` samples, of which those at `places` are another's results; a tensor in which two models differ
    in more than samples, such as what they remember of a text, is left out."""
    leaves, structure = tree_flatten(out)
    others = tree_flatten(other)[0]

    def one(leaf: Any, new: Any) -> Any:
        if not isinstance(leaf, Tensor) or not isinstance(new, Tensor) or not batched(leaf, batch):
            return leaf
        return leaf.index_copy(0, places, new.to(leaf.dtype)) if leaf.shape[1:] == new.shape[1:] else None

    return tree_unflatten([one(leaf, new) for leaf, new in zip(leaves, others, strict=True)], structure)


def taken(out: Any, batch: int, places: Tensor) -> Any:
    """Results of some of the `batch` samples."""
    return tree_map_only(Tensor, lambda leaf: leaf[places] if batched(leaf, batch) else leaf, out)


def joined(outs: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Results of several calls as those of one. sizes: samples of each call."""
    parts = [tree_flatten(out)[0] for out in outs]
    structure = tree_flatten(outs[0])[1]

    def one(leaves: tuple[Any, ...]) -> Any:
        whole = all(isinstance(leaf, Tensor) and batched(leaf, size) for leaf, size in zip(leaves, sizes, strict=True))
        return torch.cat(leaves) if whole else leaves[0]

    return tree_unflatten([one(leaves) for leaves in zip(*parts, strict=True)], structure)
