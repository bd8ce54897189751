"""A few numbers that tell of each sample what kind it is: of values their mean, spread and course, of tokens how
frequent they are, of answers how sure they are. Knows tensors; not what is made of the numbers.

Numbers are rounded to 12 bits, so that the same sample tells the same in batches of any size.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

#: Stretches of a sample whose means are told, and bands of frequency that tokens fall into.
_STRETCHES, _BANDS = 6, 6
#: Positions of an answer (words, pixels) that are looked at of one sample.
_POSITIONS: Final = 16
#: Of the size of a sample's numbers, a mean or spread below this is an error of rounding.
_NOUGHT: Final = 1e-3
#: Multiplied and subtracted, leaves the leading 12 bits of a number of 24 (Veltkamp 1968).
_SPLITTER: Final = np.float32(4097)
_LARGEST: Final = 1e30

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ValueTelling:
    """Of an input of numbers: mean and standard deviation, and the means of stretches of it one after the other.

    Attributes:
        names: Of what is told.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, inputs: Tensor) -> ValueTelling:
        """For inputs like these (N, ...)."""
        stretches = min(_STRETCHES, inputs[0].numel())
        return cls(names=("mean", "spread", *(f"part {place + 1} of {stretches}" for place in range(stretches))))

    def __call__(self, inputs: Tensor) -> Floats:
        """(N, names) of the samples of a batch (N, ...)."""
        flat = _array(inputs.float())
        size, stretches = flat.shape[1], len(self.names) - 2
        sums = np.add.reduceat(flat, [size * place // stretches for place in range(stretches)], axis=1)
        told = np.empty((len(flat), len(self.names)), np.float32)
        mean = sums.sum(1) / size
        square = np.einsum("ij,ij->i", flat, flat) / size
        told[:, 0], told[:, 1] = mean, np.sqrt(np.maximum(square - mean * mean, 0))
        told[:, 2:] = sums * (stretches / size)
        return _rounded(np.where(np.abs(told) < _NOUGHT * np.sqrt(square)[:, None], np.float32(0), told))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "values", "names": list(self.names)}


@dataclass(frozen=True, kw_only=True)
class TokenTelling:
    """Of an input of whole numbers: which share of them is in each band of frequency, from the most frequent to those
    that were never seen.

    Attributes:
        bands: The tokens of each band but the last one.
    """

    bands: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rows: Iterable[Tensor]) -> TokenTelling:
        """Bands with equal shares of the tokens of these samples, as far as the most frequent ones let them."""
        counted = Counter(token for row in rows for token in row.reshape(-1).tolist())
        total, seen = sum(counted.values()), 0
        bands: dict[int, list[int]] = {}
        for token, count in counted.most_common():
            bands.setdefault(seen * _BANDS // total, []).append(int(token))
            seen += count
        return cls(bands=tuple(tuple(sorted(band)) for band in bands.values()))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of what is told."""
        return (*(f"share of band {place + 1} of {len(self.bands)}" for place in range(len(self.bands))), "unseen")

    def __call__(self, inputs: Tensor) -> Floats:
        """(N, names) of the samples of a batch (N, ...)."""
        ids = _array(inputs.long())
        count, bands = len(ids), len(self.names)
        found = self._table[ids.clip(0, len(self._table) - 1)] + bands * np.arange(count)[:, None]
        shares = np.bincount(found.reshape(-1), minlength=bands * count).reshape(count, bands) / ids.shape[1]
        return _rounded(shares.astype(np.float32))

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """The band of each token; what is beyond the last one was never seen, as were those in between."""
        last = max((token for band in self.bands for token in band), default=0)
        table = np.full(max(last, 0) + 2, len(self.bands))
        for place, band in enumerate(self.bands):
            table[[token for token in band if token >= 0]] = place
        return table

    def to_json(self) -> dict[str, Any]:
        return {"kind": "tokens", "bands": [list(band) for band in self.bands]}


Telling = ValueTelling | TokenTelling


def telling_from_json(data: Mapping[str, Any]) -> Telling:
    """Raises KeyError or TypeError of anything else than `to_json` wrote."""
    if data["kind"] == "tokens":
        return TokenTelling(bands=tuple(tuple(map(int, band)) for band in data["bands"]))
    return ValueTelling(names=tuple(map(str, data["names"])))


def is_tokens(inputs: Tensor) -> bool:
    """Whether an input's numbers are names of things. Bytes are numbers: images come in them."""
    return not (inputs.is_floating_point() or inputs.is_complex() or inputs.dtype == torch.uint8)


def sureness(answers: Tensor) -> Floats:
    """(N, 1) the confidence of each sample: the largest share of a softmax, on average over positions.

    Args:
        answers: (N, classes), (N, positions, classes) or (N, classes, height, width).
    """
    logits = _by_class(answers.float())
    shares = 1 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)
    return _rounded(shares.mean(1, keepdims=True))


def verdicts(answers: Tensor) -> NDArray[np.int64]:
    """(N, positions) the class that each sample's answer names."""
    found: NDArray[np.int64] = _by_class(answers.float()).argmax(-1)
    return found


def _by_class(answers: Tensor) -> Floats:
    """(N, positions, classes) of some positions all over each sample."""
    some = answers.detach()
    if some.dim() > 3:
        some = some.flatten(2).transpose(1, 2)
    some = some.reshape(len(some), -1, some.shape[-1])
    found: Floats = some[:, :: -(-some.shape[1] // _POSITIONS)].cpu().numpy()
    return found


def _array(inputs: Tensor) -> Any:
    """(N, numbers)"""
    return inputs.detach().reshape(len(inputs), -1).cpu().numpy()


def arguments(model: nn.Module) -> tuple[str, ...]:
    """The names of what a model is called with by place, as far as it says them."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        found = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # it is no function of Python
        return ()
    return tuple(each.name for each in found if each.kind in kinds)


def inputs_by_name(args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a call that have samples, by the name of the argument that they are in."""
    found: dict[str, Tensor] = {}
    for place, given in enumerate(args):
        _add(found, names[place] if place < len(names) else str(place), given)
    for name, given in kwargs.items():
        _add(found, name, given)
    return found


def _add(found: dict[str, Tensor], name: str, given: Any) -> None:
    if isinstance(given, Tensor):
        if given.dim() and given.numel() and given.layout == torch.strided and not given.is_complex():
            found[name] = given
    elif isinstance(given, Mapping | tuple | list):
        for place, leaf in enumerate(tree_leaves(given)):
            _add(found, f"{name}.{place}", leaf)


def _rounded(told: Floats) -> Floats:
    """12 bits of each number; what is no number is a very large one, which none of an ordinary sample is."""
    far = told * _SPLITTER
    found = far - (far - told)
    return found if np.isfinite(found).all() else np.nan_to_num(found, nan=_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
