"""The batches of one part of the data. Knows how many there are and whether they come again; not what is in them.

No pass is begun only to look: a loader with workers takes longer to start than a small split takes to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from types import NoneType
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from autoprune.core.clock import Clock
from autoprune.core.reporter import Reporter
from autoprune.errors import AutopruneError, TaskError, describe

#: What is given as a split: batches, or a function without arguments that loads them when they are first needed.
Source = Iterable[Any] | Callable[[], Iterable[Any]]

#: Batches and seconds after which a source that does not know its length is taken for one without end.
_MOST, _MOST_S = 100_000, 60.0


class Split:
    """Batches that come as often as they are asked for, and end.

    A pass ends after `len()` batches where the source knows its length, however many it would give. Anything else that
    the source can do, its dataset for example, is reached through this.

    Args:
        name: Of the split.
        source: What gives the batches.

    Raises:
        TaskError: it can be read only once, or has no batch.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source: Any = source
        self._count: int | None = None
        self._loaded = isinstance(source, Iterable) or not callable(source)
        if self._loaded:
            self._check()

    @property
    def source(self) -> Iterable[Any]:
        """What the user gave, loaded by now."""
        if not self._loaded:
            try:
                self._source = self._source()
            except AutopruneError:
                raise
            except Exception as error:
                raise TaskError(
                    expected=f"splits['{self.name}'] to load",
                    received=describe(error),
                    cure="call the function that loads it alone to find the cause",
                ) from error
            self._loaded = True
            self._check()
        found: Iterable[Any] = self._source
        return found

    @property
    def given(self) -> Iterable[Any]:
        """What functions of the user's are called with: what was given, or this where that may go on without end."""
        source = self.source
        plain = isinstance(source, list | tuple) or (
            isinstance(source, DataLoader)
            and not isinstance(source.dataset, IterableDataset)
            and type(source.sampler) in (RandomSampler, SequentialSampler)
            and type(source.batch_sampler) in (BatchSampler, NoneType)
        )
        return source if plain else self

    @property
    def count(self) -> int | None:
        """Batches of a pass; None where that is not known."""
        if self._count is None and isinstance(self.source, Sized):
            try:
                self._count = len(self._source)
            except TypeError:  # a loader of a stream has a length that raises
                return None
        return self._count

    def measure(self, clock: Clock, reporter: Reporter) -> None:
        """Count the batches of a source that does not know its length, by reading it through.

        Raises:
            TaskError: it does not end, or does not come again.
        """
        if self.count is not None:
            return
        reporter.note(f"counting the batches of splits['{self.name}'], which has no length")
        start, number = clock.wall(), 0
        for _ in self.source:
            number += 1
            if number >= _MOST or clock.wall() - start > _MOST_S:
                raise TaskError(
                    expected=f"splits['{self.name}'] to end",
                    received=f"a stream without a length that went on after {number} batches",
                    cure="give it a length (__len__), or say how many steps to train on (--finetune-steps, "
                    "finetune_steps=)"
                    if self.name == "train"
                    else "give it a length (__len__)",
                )
        if not number:
            raise self._empty()
        if next(iter(self.source), self) is self:
            raise TaskError(
                expected=f"splits['{self.name}'] to give its batches as often as it is asked",
                received=f"{number} batches the first time, none the second",
                cure="pass a list, a DataLoader, or an iterable that begins anew in __iter__",
            )
        self._count = number

    def __len__(self) -> int:
        """Raises TypeError where it is not known, as a loader's own does."""
        if self.count is None:
            raise TypeError(f"splits['{self.name}'] has no length")
        return self.count

    def __iter__(self) -> Iterator[Any]:
        number = 0
        for batch in islice(self.source, self.count):
            number += 1
            yield batch
        if not number:
            raise self._empty()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_source" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.source, name)

    def _check(self) -> None:
        if isinstance(self._source, Iterator) or not isinstance(self._source, Iterable):
            raise TaskError(
                expected=f"splits['{self.name}'] to give its batches as often as it is asked",
                received=type(self._source).__name__,
                cure="pass a list or a DataLoader",
            )
        if self.count == 0:
            raise self._empty()

    def _empty(self) -> TaskError:
        return TaskError(
            expected=f"at least one batch in splits['{self.name}']", received="an empty split", cure="give it data"
        )
