"""By what the data of a task is known again. Knows a few samples of a split and how many there are; not the rest.

What can be looked up by number is: the samples of an ordinary loader are its data set's, in whatever order it shuffles
them, and no worker is started. Of anything else the first batch of a pass is taken.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from autoprune.errors import TaskError, describe
from autoprune.surgery.random_state import forked_random
from autoprune.tasks.split import Split

#: Samples that are looked up by their number, all over a data set.
_SAMPLES: Final = 8


@dataclass(frozen=True, kw_only=True)
class DataIdentity:
    """What a split is known by.

    Attributes:
        count: Of its batches, or of the samples of its data set; None where that is not known.
        digest: Of a few of them.
    """

    count: int | None
    digest: str

    @classmethod
    def of(cls, split: Split) -> DataIdentity:
        """Look at a split.

        Raises:
            TaskError: it cannot be read.
        """
        digest = hashlib.sha256()
        try:
            source = split.source
            plain: Any = source.dataset if isinstance(source, DataLoader) else source
            if isinstance(source, DataLoader) and source.num_workers and _shuffled(source):
                count = split.count  # nothing that comes first is the same twice
            elif split.given is split or not hasattr(plain, "__getitem__") or _elsewhere(source):
                count = split.count
                _feed(digest, next(iter(split)))
            else:
                count = len(plain)
                for place in sorted({round(k * (count - 1) / (_SAMPLES - 1)) for k in range(_SAMPLES)}):
                    _feed(digest, plain[place])
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(
                expected=f"samples of splits['{split.name}'] that can be read",
                received=describe(error),
                cure="read them without autoprune to find the cause",
            ) from error
        return cls(count=count, digest=digest.hexdigest()[:16])


def _elsewhere(source: Any) -> bool:
    """Whether other processes read the samples: what a data set opens here before they begin would be shared."""
    return isinstance(source, DataLoader) and source.num_workers > 0


def _shuffled(source: DataLoader[Any]) -> bool:
    return type(source.sampler) is not SequentialSampler or type(source.batch_sampler) not in (BatchSampler, NoneType)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Looking at data draws no random number that anything else would have drawn."""
    states = random.getstate(), np.random.get_state()
    try:
        with forked_random():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _feed(digest: Any, value: Any) -> None:
    """Take a value into a hash; of what is of no known kind, only its type."""
    digest.update(type(value).__name__.encode())
    if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    elif isinstance(value, str | bytes | bool | int | float | complex | None):
        digest.update(repr(value).encode())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _feed(digest, str(key))
            _feed(digest, value[key])
    elif is_dataclass(value):
        for each in fields(value):
            _feed(digest, getattr(value, each.name))
    elif isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim):
        for part in value:
            _feed(digest, part)
    elif callable(getattr(value, "tobytes", None)):  # pictures, and other buffers
        digest.update(value.tobytes())
