"""Try an operator alone that no rule tells of. Knows numbers: which dimensions it treats alike, and what of its results
follows them; not labels or models.

A dimension passes if, whatever the order of its places, the results have the same order, or none of it, and if the
operator also runs with fewer places. Several dimensions of one size may have to be reordered together. They are tried
on numbers made by chance from those of the call, as weights may be all ones, with which anything seems to pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from autoprune.surgery.noise import seeded

#: Sets of dimensions that are tried together for one dimension at most, and dimensions in a set.
_SETS, _TOGETHER = 200, 4
#: Dimensions of one result that may follow one set: a matrix of all pairs has two.
_FOLLOWING: Final = 2
#: Largest relative difference that another order of a sum may cause; of coarser types, in units of their rounding.
_TOLERANCE, _ROUNDINGS = 1e-4, 4
_SHAKEN: Final = 0.5

Place = tuple[int, int]


@dataclass(frozen=True)
class Passing:
    """Dimensions that go together. taken: (number of a tensor among the arguments, dimension); given: the same of the
    results and, behind them, of the arguments that are changed in place."""

    taken: tuple[Place, ...]
    given: tuple[Place, ...]


class NoValuesError(Exception):
    """What the operator does cannot be seen: its arguments have no values, and none can be made up for them."""


def tried(func: Any, args: Any, kwargs: Any, live: Sequence[Place]) -> list[Passing]:
    """The sets of dimensions that pass, each dimension in one at most; those not named do not pass.

    Args:
        func: The overload of an operator.
        args, kwargs: Of one call. They are not changed.
        live: The dimensions of the tensors among the arguments to try.

    Raises:
        NoValuesError: the arguments are on meta tensors, and the operator does not run on numbers that are made up.
    """
    trial = _Trial.of(func, args, kwargs)
    found: list[Passing] = []
    done: set[Place] = set()
    for place in live:
        if place not in done and (passing := trial.passing(place, [other for other in live if other not in done])):
            found.append(passing)
            done.update(passing.taken)
    return found


@dataclass(frozen=True)
class _Sample:
    """Arguments and what they led to."""

    tensors: Sequence[Tensor]
    results: Sequence[Tensor]


class _Trial:
    """One call with other numbers."""

    def __init__(self, func: Any, args: Any, kwargs: Any) -> None:
        self._func = func
        self._leaves, self._spec = tree_flatten((args, kwargs))
        self._places = [place for place, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor)]
        self._changed = changed(func, args, kwargs)
        self._samples: list[_Sample] = []

    @classmethod
    def of(cls, func: Any, args: Any, kwargs: Any) -> _Trial:
        trial = cls(func, args, kwargs)
        tensors = [trial._leaves[place] for place in trial._places]
        hollow = any(tensor.is_meta for tensor in tensors)
        if hollow and not all(tensor.is_floating_point() for tensor in tensors):
            raise NoValuesError
        chance = torch.Generator().manual_seed(0)
        for how in (_moved, _shaken) if any(tensor.is_floating_point() for tensor in tensors) else (_as_is,):
            values = [how(tensor, chance) if tensor.is_floating_point() else tensor for tensor in tensors]
            results = trial._run(values)
            if results and all(bool(torch.isfinite(result).any()) or not result.numel() for result in results):
                trial._samples.append(_Sample(values, results))
        if hollow and not trial._samples:
            raise NoValuesError
        return trial

    def passing(self, place: Place, others: Sequence[Place]) -> Passing | None:
        """The smallest set with this dimension that passes."""
        return next((found for taken in self._sets(place, others) if (found := self._passes(taken))), None)

    def _sets(self, place: Place, others: Sequence[Place]) -> Iterator[tuple[Place, ...]]:
        if not self._samples:
            return
        size = self._size(place)
        alike = [other for other in others if other != place and self._size(other) == size]
        count = 0
        for more in range(min(len(alike), _TOGETHER - 1) + 1):
            for chosen in combinations(alike, more):
                count += 1
                if count > _SETS:
                    return
                yield (place, *chosen)

    def _size(self, place: Place) -> int:
        return self._samples[0].tensors[place[0]].shape[place[1]]

    def _passes(self, taken: tuple[Place, ...]) -> Passing | None:
        size = self._size(taken[0])
        ways: list[set[tuple[int, ...]]] = []
        for number, sample in enumerate(self._samples):
            found = self._ways(sample, taken, _cycle(size, number))
            if not found or not all(found):
                return None
            ways = found if not ways else [old & new for old, new in zip(ways, found, strict=True)]
        given: set[tuple[tuple[int, ...], ...]] = {self._follows(taken, size, count) for count in {size - 1, size // 2}}
        (first, *rest) = given
        if rest or not all(dims in way for dims, way in zip(first, ways, strict=True)):
            return None
        return Passing(taken, tuple((number, dim) for number, dims in enumerate(first) for dim in dims))

    def _ways(self, sample: _Sample, taken: tuple[Place, ...], order: Tensor) -> list[set[tuple[int, ...]]]:
        """For each result, the sets of dimensions along which it was reordered as the arguments were."""
        got = self._run(_along(sample.tensors, taken, order))
        if len(got) != len(sample.results):
            return []
        return [_reordered(old, new, order) for old, new in zip(sample.results, got, strict=True)]

    def _follows(self, taken: tuple[Place, ...], size: int, count: int) -> tuple[tuple[int, ...], ...]:
        """For each result, the dimensions that lose as many places as the arguments; (-1,) for what does not fit."""
        sample = self._samples[0]
        kept = torch.randperm(size, generator=torch.Generator().manual_seed(count))[:count].sort().values
        tensors = _along(sample.tensors, taken, kept)
        results = self._run(tensors)
        if len(results) != len(sample.results):
            return ((-1,),)
        dims = [_lost(old, new, size, count) for old, new in zip(sample.results, results, strict=True)]
        ways = self._ways(_Sample(tensors, results), taken, _cycle(count, count))
        fits = len(ways) == len(dims) and all(each in way for each, way in zip(dims, ways, strict=True))
        return tuple(dims) if fits else ((-1,),)

    def _run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The results, and then what was changed in place; nothing where the operator refuses."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor.clone()
        args, kwargs = tree_unflatten(leaves, self._spec)
        try:
            with torch.no_grad(), seeded():
                out = self._func(*args, **kwargs)
        except Exception:  # code of any library, on numbers and sizes that it was not written for
            return []
        returned = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        return [*returned, *(leaves[self._places[number]] for number in self._changed)]


def changed(func: Any, args: Any, kwargs: Any) -> list[int]:
    """Which of the tensors among the arguments the operator changes in place, by their number."""
    written: set[int] = set()
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write:
            written.update(id(leaf) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    return [number for number, tensor in enumerate(tensors) if id(tensor) in written]


def _as_is(tensor: Tensor, _: torch.Generator) -> Tensor:
    return tensor


def _moved(tensor: Tensor, chance: torch.Generator) -> Tensor:
    """Other numbers of the same spread; on meta tensors any."""
    noise = torch.randn(tensor.shape, generator=chance, dtype=torch.float32).to(tensor.dtype)
    if tensor.is_meta:
        return noise
    spread = tensor.std() if tensor.numel() > 1 else tensor.abs().sum()
    return tensor + noise.to(tensor.device) * torch.where(spread > 0, spread, torch.ones_like(spread))


def _shaken(tensor: Tensor, chance: torch.Generator) -> Tensor:
    """The same numbers, each nearer to zero by another part: signs and bounds stay. On meta tensors, shares."""
    share = torch.rand(tensor.shape, generator=chance, dtype=torch.float32).to(tensor.dtype)
    return share if tensor.is_meta else tensor * (1 - _SHAKEN * share.to(tensor.device))


def _cycle(size: int, seed: int) -> Tensor:
    """An order in which no place stays where it was."""
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    order = torch.empty_like(drawn)
    order[drawn] = drawn.roll(1)
    return order


def _along(tensors: Sequence[Tensor], taken: Sequence[Place], places: Tensor) -> list[Tensor]:
    """The tensors with these places of the dimensions, in this order."""
    found = list(tensors)
    for number, dim in taken:
        found[number] = found[number].index_select(dim, places.to(found[number].device))
    return found


def _reordered(old: Tensor, new: Tensor, order: Tensor) -> set[tuple[int, ...]]:
    if old.shape != new.shape:
        return set()
    dims = [dim for dim, size in enumerate(old.shape) if size == len(order)]
    sets = (chosen for count in range(_FOLLOWING + 1) for chosen in combinations(dims, count))
    return {chosen for chosen in sets if _same(_along([old], [(0, dim) for dim in chosen], order)[0], new)}


def _lost(old: Tensor, new: Tensor, size: int, count: int) -> tuple[int, ...]:
    """The dimensions that went from `size` places to `count`; (-1,) where others changed as well."""
    if old.dim() != new.dim():
        return (-1,)
    dims = tuple(dim for dim in range(old.dim()) if old.shape[dim] != new.shape[dim])
    return dims if all((old.shape[dim], new.shape[dim]) == (size, count) for dim in dims) else (-1,)


def _same(one: Tensor, other: Tensor) -> bool:
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    wide = torch.complex128 if one.is_complex() else torch.float64
    left, right = one.to(wide), other.to(wide)
    finite = left[torch.isfinite(left)]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    tolerance = max(_TOLERANCE, _ROUNDINGS * torch.finfo(one.dtype).eps)
    return torch.allclose(left, right, rtol=0, atol=tolerance * scale, equal_nan=True)
