"""Data that lies in arrays: made tensors of, split, and cut into batches. Knows no model and no score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoprune.errors import TaskError
from autoprune.tasks.split import Source

#: Shares of one data set that is given whole.
SHARES: Final = {"train": 0.4, "calibration": 0.1, "search": 0.2, "validation": 0.15, "test": 0.15}

#: What a model takes of all samples: one tensor, a tuple of arguments, or keywords; samples first in each.
Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Given = TypeVar("Given", bound=Inputs)


@dataclass(frozen=True)
class Batches(Generic[Given]):
    """Inputs and targets of equal length, `size` at a time; with `shuffle` in a new order on each pass.

    The order is drawn from torch's global state, which training seeds for each epoch: one of its own would go on from
    whatever was trained before. A last batch of one sample joins the one before it: batch statistics of one sample do
    not exist.
    """

    inputs: Given
    targets: Tensor
    size: int
    shuffle: bool = False

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[tuple[Given, Tensor]]:
        count = len(self.targets)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for chosen in order.split(self._sizes()):
            yield _rows(self.inputs, chosen), self.targets[chosen]

    def _sizes(self) -> list[int]:
        full, rest = divmod(len(self.targets), self.size)
        sizes = [self.size] * full + [rest] * bool(rest)
        return [*sizes[:-2], sizes[-2] + 1] if rest == 1 and full else sizes


def source(name: str, part: Any, size: int, dtype: torch.dtype) -> Source:
    """One split as it was given: arrays in batches of `size`, shuffled in "train"; anything else as it is.

    Raises:
        TaskError: arrays that are none of a classifier.
    """
    if callable(part) and not isinstance(part, Iterable):
        return lambda: cast(Iterable[Any], source(name, part(), size, dtype))
    if not _whole(part):
        return cast(Source, part)
    inputs, targets = tensors(f"splits['{name}']", part, dtype)
    return Batches(inputs, targets, size, shuffle=name == "train")


def tensors(name: str, data: Any, dtype: torch.dtype) -> tuple[Inputs, Tensor]:
    """Arrays of equal, positive length as tensors: floating-point inputs as `dtype`, labels (N,) as int64.

    Args:
        name: Of the data, for messages.
        data: A pair (inputs, labels), where inputs are an array, a tuple of arrays or a mapping of them.
        dtype: Of the model's weights.

    Raises:
        TaskError: they are none of a classifier.
    """
    try:
        given, labels = data
        named = dict(given) if isinstance(given, Mapping) else given
        inputs = _mapped(named, lambda array: _cast(torch.as_tensor(array), dtype))
        targets = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(
            expected=f"{name} as (inputs, labels), each an array; several inputs as a tuple or a mapping of arrays",
            received=f"{type(data).__name__}: {error}".split("\n")[0],
            cure="pass (images, labels), ((images, numbers), labels) or ({'input_ids': ids, ...}, labels)",
        ) from error
    parts = pytree.tree_leaves(inputs)
    if not parts or len(targets) == 0 or any(part.dim() < 1 or len(part) != len(targets) for part in parts):
        raise TaskError(
            expected=f"inputs and labels of equal, positive length in {name}",
            received=f"shapes {' and '.join(str(list(part.shape)) for part in (*parts, targets))}",
            cure="pass at least one sample with its label",
        )
    if targets.dim() != 1 or not torch.equal(targets.long().to(targets.dtype), targets):
        raise TaskError(
            expected=f"the class of each sample of {name} as a whole number",
            received=f"labels of shape {list(targets.shape)} and {str(targets.dtype).removeprefix('torch.')}",
            cure="pass labels.argmax(-1) where they are one-hot; for other targets write a Task with a loss of its own",
        )
    return inputs, targets.long()


def divide(
    inputs: Given, targets: Tensor, seed: int, shares: Mapping[str, float] = SHARES, *, stratify: bool = False
) -> dict[str, tuple[Given, Tensor]]:
    """Disjoint random parts in the given shares.

    Args:
        inputs: (N, ...), each of them.
        targets: (N,).
        seed: Of the shuffle.
        shares: By name; they sum to one.
        stratify: Whether each part gets its share of each class, as nearly as whole samples allow.

    Raises:
        TaskError: a part would be empty.
    """
    count = len(targets)
    sizes = [math.floor(share * count) for share in shares.values()]
    sizes[-1] = count - sum(sizes[:-1])
    if min(sizes) < 1:
        raise TaskError(
            expected=f"at least {math.ceil(1 / min(shares.values()))} samples to split",
            received=f"{count}",
            cure="pass more data, or your own splits",
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if not stratify:
        parts = list(order.split(sizes))
    else:
        # Samples of one class lie side by side; each is dealt to the part that lacks most by then.
        dealt = torch.empty(count, dtype=torch.int64)
        dealt[targets[order].argsort(stable=True)] = torch.tensor(_deal(count, tuple(shares.values())))
        parts = [order[dealt == part] for part in range(len(sizes))]
    return {name: (_rows(inputs, part), targets[part]) for name, part in zip(shares, parts, strict=True)}


def _deal(count: int, shares: tuple[float, ...]) -> list[int]:
    """The part of each of so many samples in a row, so that any stretch of them has its share of each part."""
    lacking, dealt = [0.0] * len(shares), []
    for _ in range(count):
        lacking = [lack + share for lack, share in zip(lacking, shares, strict=True)]
        part = max(range(len(shares)), key=lacking.__getitem__)
        lacking[part] -= 1
        dealt.append(part)
    return dealt


def _whole(part: Any) -> bool:
    """Whether a split is given as arrays of all its samples, not as batches."""
    if not isinstance(part, Sequence) or len(part) != 2 or not hasattr(part[1], "shape"):
        return False
    given = part[0]
    arrays = tuple(given.values()) if isinstance(given, Mapping) else given if isinstance(given, tuple) else (given,)
    return all(hasattr(array, "shape") for array in arrays)


def _cast(array: Tensor, dtype: torch.dtype) -> Tensor:
    return array.to(dtype) if array.is_floating_point() else array


def _rows(inputs: Given, chosen: Tensor) -> Given:
    """Those samples of each input."""
    return cast(Given, _mapped(inputs, lambda array: array[chosen]))


def _mapped(inputs: Any, change: Callable[[Any], Tensor]) -> Inputs:
    """The same form with each of its arrays changed."""
    if isinstance(inputs, dict):
        return {key: change(array) for key, array in inputs.items()}
    return tuple(map(change, inputs)) if isinstance(inputs, tuple) else change(inputs)
