"""What enters a weight as rows of numbers, a sample of them. Knows matrices and convolutions; not what rows are for."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.surgery.contractions import Contraction

#: Convolutions with at most so many inputs x taps have an entry for each, wider ones an entry an input.
_UNFOLDED: Final = 1152
_DIMENSIONS: Final = 2


def unfolds(contraction: Contraction, weight: Tensor) -> bool:
    """Whether the dense weight's rows have an entry for each tap."""
    taps = weight.shape[2:]
    entries = weight.shape[1] * taps.numel()
    return bool(contraction.stride) and contraction.dim == 1 and entries <= _UNFOLDED and len(taps) <= _DIMENSIONS


def sampled(
    contraction: Contraction, inputs: Tensor, weight: Tensor, wanted: int, generator: torch.Generator, unfolded: bool
) -> Tensor:
    """At most about `wanted` rows (rows, entries), float32; which ones depends on the generator and the numbers of
    samples and places alone, so that a model with fewer channels gives the rows of the same places."""
    if not contraction.stride:
        return _some(inputs, wanted, generator).float()
    if not unfolded:
        places = inputs.shape[2:].numel()
        chosen = _samples(inputs, -(-2 * wanted // max(places, 1)), generator)
        return _some(chosen.movedim(1, -1).reshape(-1, inputs.shape[1]), wanted, generator).float()
    kernel, window = weight.shape[2:], [contraction.dilation, contraction.padding, contraction.stride]
    places = max(inputs.shape[2:].numel() // math.prod(contraction.stride), 1)
    chosen = _samples(inputs, -(-2 * wanted // places), generator)
    if len(kernel) == 1:  # a sequence is an image of one row
        chosen, window = chosen[:, :, None], [(one, *each) for one, each in zip((1, 0, 1), window, strict=True)]
        kernel = torch.Size((1, *kernel))
    columns = functional.unfold(chosen.float(), kernel, *window)
    return _some(columns.transpose(1, 2).reshape(-1, columns.shape[1]), wanted, generator)


def _samples(inputs: Tensor, wanted: int, generator: torch.Generator) -> Tensor:
    if len(inputs) <= wanted:
        return inputs.detach()
    return inputs.detach()[torch.randperm(len(inputs), generator=generator)[:wanted].to(inputs.device)]


def _some(rows: Tensor, wanted: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= wanted:
        return rows.detach()
    return rows.detach()[torch.randint(len(rows), (wanted,), generator=generator).to(rows.device)]
