"""Which argument of which function is the size of which dimension. Knows functions of torch as Python code calls them.

Each entry reads one call and says which sizes it was given; what follows from that is solved elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from autoprune.surgery.call_site import call_site
from autoprune.surgery.equations import Equation
from autoprune.surgery.labels import Label, Sum, cut, freeze, split
from autoprune.surgery.tracer import Tracer
from autoprune.surgery.tracked_int import Expression, TrackedInt, expression_of

UNEQUAL = "split into unequal pieces"


_COUNTS: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Said(NamedTuple):
    """One call as Python code made it; `equations` takes what it says."""

    tracer: Tracer
    equations: list[Equation]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any = None

    def arg(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or, failing that, by name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)

    def of(self, tensor: Tensor) -> tuple[Label, ...]:
        return self.tracer.of(tensor)

    @property
    def last_groups(self) -> Label | None:
        return self.tracer.last_groups

    def equal(self, label: Label, value: int) -> None:
        """The code gave `value` for the size of `label`."""
        if label.size == value and value != 1:
            self.same(label, expression_of(value))

    def same(self, left: Expression, right: Expression) -> None:
        self.equations.append(Equation(left, right, site=call_site()))


def _whole(values: Any) -> list[int]:
    """Every whole number in nested arguments, in order."""
    if isinstance(values, list | tuple):
        return [number for each in values for number in _whole(each)]
    return [] if (number := _number(values)) is None else [number]


def _number(value: Any) -> int | None:
    """A whole number, also as another library has it, or as a tensor of no dimension; None where it is none."""
    if isinstance(value, Tensor):
        known = not value.dim() and not value.is_meta
        return int(value) if known and value.dtype in _COUNTS else None
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    return value if isinstance(value, int) else int(value)


def _sizes(said: Said) -> None:
    """view(x, *sizes), zeros(*sizes): one size a dimension of the result."""
    args = said.args[1:] if said.args and isinstance(said.args[0], Tensor) else said.args
    given = _whole([*args, said.kwargs.get("size"), said.kwargs.get("shape")])
    if isinstance(said.out, Tensor) and len(given) == said.out.dim():
        for label, value in zip(said.of(said.out), given, strict=True):
            said.equal(label, value)


def _filled(said: Said) -> None:
    """full(size, value), new_full(x, size, value), normal(mean, deviation, size)."""
    size = next((arg for arg in said.args if isinstance(arg, list | tuple)), said.kwargs.get("size", ()))
    _sizes(said._replace(args=(size,), kwargs={}))


def _unflatten(said: Said) -> None:
    dim = said.arg(1, "dim") % said.args[0].dim()
    given = _whole(said.arg(2, "sizes"))
    for label, value in zip(said.of(said.out)[dim : dim + len(given)], given, strict=True):
        said.equal(label, value)


_PARTS: Final = ("split_size", "split_sizes", "split_size_or_sections")


def _split(said: Said) -> None:
    """split(x, size or sizes, dim)."""
    given = said.args[1] if len(said.args) > 1 else next(said.kwargs[name] for name in _PARTS if name in said.kwargs)
    given = given if (number := _number(given)) is None else number
    dim = said.arg(2, "dim", 0) % said.args[0].dim()
    pieces = [said.of(piece)[dim] for piece in said.out]
    if isinstance(given, int) and len({piece.size for piece in pieces}) > 1:
        freeze(Sum(tuple(pieces)), UNEQUAL)
    values = [given] * len(pieces) if isinstance(given, int) else list(given)
    for piece, value in zip(pieces, values, strict=True):
        said.equal(piece, value)


def _chunk(said: Said) -> None:
    """chunk(x, count, dim): as many equal pieces, whatever their size; tensor_split may be given places instead."""
    _dealt(said, said.arg(2, "dim", 0), said.arg(1, "sections", said.kwargs.get("chunks", said.kwargs.get("indices"))))


def _along(dim: int) -> Callable[[Said], None]:
    """hsplit(x, count or places) and its kin: along dimension `dim`, or the only one."""
    return lambda said: _dealt(
        said, min(dim, said.args[0].dim() - 1), said.arg(1, "sections", said.kwargs.get("indices"))
    )


def _dealt(said: Said, dim: int, given: Any) -> None:
    """Equal pieces of a dimension, or pieces that end at places that are given."""
    dim %= said.args[0].dim()
    pieces = [said.of(piece)[dim] for piece in said.out]
    if isinstance(given, list | tuple):
        for place, bound in enumerate(given, 1):
            said.equal(*_measured(Sum(tuple(pieces[:place])), Sum(tuple(pieces[place:])), bound))
        return
    if _number(given) is None:
        raise TypeError("places in a tensor")
    if len({piece.size for piece in pieces}) > 1:
        freeze(Sum(tuple(pieces)), UNEQUAL)
        return
    for piece in pieces[1:]:
        said.same(piece, pieces[0])


def _repeat(said: Said) -> None:
    """repeat(x, *counts): each dimension is count x size."""
    counts = _whole([said.args[1:], said.kwargs.get("repeats"), said.kwargs.get("dims")])
    sizes = [1] * (len(counts) - said.args[0].dim()) + list(said.args[0].shape)
    if len(counts) == said.out.dim():
        for label, count, size in zip(said.of(said.out), counts, sizes, strict=True):
            if count > 1:
                said.equal(split(label, size)[0], count)


def _interleave(said: Said) -> None:
    """repeat_interleave(x, count, dim): the dimension is size x count."""
    count = _number(said.arg(1, "repeats"))
    dim = said.arg(2, "dim")
    if count is not None and count > 1 and isinstance(dim, int):
        said.equal(split(said.of(said.out)[dim], count)[1], count)


def _strided(said: Said) -> None:
    """as_strided(x, size, stride)."""
    for label, value in zip(said.of(said.out), said.arg(1, "size"), strict=True):
        said.equal(label, value)


def _range(said: Said) -> None:
    """arange(end) and its kin count positions, so what they count must stay as it is."""
    given = [value for value in (*said.args, *said.kwargs.values()) if isinstance(value, TrackedInt)]
    for value in given:
        said.same(int(value), value.expression)


def _grouped(said: Said) -> None:
    """conv(x, weight, bias, stride, padding, dilation, groups); transposed ones have it in the same place."""
    groups = said.arg(6, "groups", 1)
    if said.last_groups is not None:
        said.equal(said.last_groups, groups)


def _group_norm(said: Said) -> None:
    if said.last_groups is not None:
        said.equal(said.last_groups, said.arg(1, "num_groups"))


def _normalized(said: Said) -> None:
    """layer_norm(x, normalized_shape, ...)."""
    given = _whole(said.arg(1, "normalized_shape"))
    for label, value in zip(said.of(said.args[0])[-len(given) :], given, strict=True):
        said.equal(label, value)


def _pad(said: Said) -> None:
    """pad(x, amounts): pairs of before and after, from the last dimension."""
    amounts = _whole(said.arg(1, "pad"))
    labels = said.of(said.out)
    for place in range(len(amounts) // 2):
        before, after = amounts[2 * place : 2 * place + 2]
        label = labels[-1 - place]
        if before > 0:
            said.same(cut(label, int(before))[0], expression_of(before))
        if after > 0:
            said.same(cut(label, label.size - int(after))[1], expression_of(after))


def _index(said: Said) -> None:
    """x[...] and x[...] = y: the bounds of slices."""
    index = said.args[1] if isinstance(said.args[1], tuple) else (said.args[1],)
    labels = said.of(said.args[0])
    used = sum(_takes(each) for each in index if each is not Ellipsis)
    dim = 0
    for each in index:
        if each is Ellipsis:
            dim += len(labels) - used
        elif isinstance(each, slice):
            if each.step in (None, 1):
                _bounds(said, labels[dim], each.start, each.stop)
            dim += 1
        else:
            dim += _takes(each)


def _takes(each: Any) -> int:
    """How many dimensions an index consumes."""
    if each is None or isinstance(each, bool):
        return 0
    return each.dim() if isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) else 1


def _narrow(said: Said) -> None:
    """narrow(x, dim, start, length)."""
    start, length = _number(said.arg(2, "start")), _number(said.arg(3, "length"))
    dim = said.arg(1, "dim")
    if start is not None and length is not None:
        _bounds(said, said.of(said.args[0])[dim], start, start + length)


def _bounds(said: Said, label: Label, start: Any, stop: Any) -> None:
    """label[start:stop]: what lies before, between and behind has sizes that the code gave."""
    if any(each is not None and _number(each) is None for each in (start, stop)):
        return
    start, stop = _number(start), _number(stop)
    size = label.size
    first, last, _ = slice(start, stop).indices(size)
    head, rest = cut(label, first)
    middle, tail = cut(rest, max(last - first, 0))
    if start is not None and first not in (0, size):
        said.equal(*_measured(head, Sum((middle, tail)), start))
    if stop is None or stop > size:
        return
    if last != size or isinstance(stop, TrackedInt):
        said.equal(*_measured(Sum((head, middle)), tail, stop))


def _measured(before: Label, behind: Label, bound: int) -> tuple[Label, int]:
    """A bound counts from the left, a negative one from the right."""
    return (before, bound) if bound >= 0 else (behind, -bound)


_CREATED: Final = ("zeros", "ones", "empty", "rand", "randn", "eye", "new_zeros", "new_ones", "new_empty", "new")
#: By the name of the function: what to read off when it has run.
AFTER: Final[dict[str, Callable[[Said], None]]] = {
    **dict.fromkeys(("view", "reshape", "expand", "broadcast_to", *_CREATED), _sizes),
    **dict.fromkeys(("full", "new_full", "normal"), _filled),
    "unflatten": _unflatten,
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _split),
    **dict.fromkeys(("chunk", "unsafe_chunk", "tensor_split"), _chunk),
    **{name: _along(dim) for dim, name in enumerate(("vsplit", "hsplit", "dsplit"))},
    "as_strided": _strided,
    **dict.fromkeys(("repeat", "tile"), _repeat),
    "repeat_interleave": _interleave,
    **dict.fromkeys(("arange", "linspace", "tril_indices", "triu_indices", "randperm", "one_hot"), _range),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _grouped),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _grouped),
    "group_norm": _group_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalized),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
}
#: What to read off before it runs, as it may change what it is given.
BEFORE: Final[dict[str, Callable[[Said], None]]] = {
    **dict.fromkeys(("__getitem__", "__setitem__"), _index),
    "narrow": _narrow,
}
