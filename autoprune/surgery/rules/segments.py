"""Operators that join dimensions or take pieces out of them."""

from __future__ import annotations

from typing import Final

from autoprune.surgery.labels import Atom, Label, Sum, cut, freeze, split, unify
from autoprune.surgery.tracer import Call, Rule


def cat(call: Call) -> None:
    """aten.cat(tensors, dim); empty tensors of one dimension are ignored as the operator does."""
    tensors = [tensor for tensor in call.args[0] if tensor.dim() > 1 or tensor.numel()]
    dim = call.arg(1, "dim", 0) % call.out.dim()
    labels = [call.trace.of(tensor) for tensor in tensors]
    for other in labels[1:]:
        for place, (left, right) in enumerate(zip(labels[0], other, strict=True)):
            if place != dim:
                unify(left, right)
    result = list(labels[0])
    result[dim] = Sum(tuple(dims[dim] for dims in labels))
    call.trace.set(call.out, result)


def stack(call: Call) -> None:
    labels = [call.trace.of(tensor) for tensor in call.args[0]]
    for other in labels[1:]:
        for left, right in zip(labels[0], other, strict=True):
            unify(left, right)
    result = list(labels[0])
    result.insert(call.arg(1, "dim", 0) % call.out.dim(), Atom(len(labels), "stacked"))
    call.trace.set(call.out, result)


def pieces(call: Call) -> None:
    """aten.split and aten.split_with_sizes(x, sizes, dim): consecutive pieces.

    Where to split is a number by now. Equal pieces are tied, so that their number still divides what is left; unequal
    ones stay as they are.
    """
    labels = call.trace.of(call.args[0])
    dim = call.arg(2, "dim", 0) % len(labels)
    sizes = {tensor.shape[dim] for tensor in call.out}
    if len(sizes) > 1:
        freeze(labels[dim], "split into unequal pieces")
    rest, first = labels[dim], None
    for tensor in call.out:
        piece, rest = cut(rest, tensor.shape[dim])
        first = first or piece
        if len(sizes) == 1:
            unify(first, piece)
        call.trace.set(tensor, (*labels[:dim], piece, *labels[dim + 1 :]))


def unbind(call: Call) -> None:
    labels = call.trace.of(call.args[0])
    dim = call.arg(1, "dim", 0) % len(labels)
    freeze(labels[dim], "taken apart index by index")
    for tensor in call.out:
        call.trace.set(tensor, (*labels[:dim], *labels[dim + 1 :]))


def select(call: Call) -> None:
    """aten.select(x, dim, index): one index is taken, so the dimension stays."""
    labels = call.trace.of(call.args[0])
    dim = call.args[1] % len(labels)
    freeze(labels[dim], "one index is selected")
    call.trace.set(call.out, (*labels[:dim], *labels[dim + 1 :]))


def take(call: Call) -> None:
    """aten.slice(x, dim, start, end, step): a strided one takes one column of a product.

    A part that is taken by fixed numbers keeps its place, so the dimension stays.
    """
    labels = call.trace.of(call.args[0])
    dim = call.arg(1, "dim", 0) % len(labels)
    size = labels[dim].size
    start, end, step = slice(call.arg(2, "start"), call.arg(3, "end"), call.arg(4, "step", 1)).indices(size)
    piece: Label
    if step == 1:
        if end - start < size:
            freeze(labels[dim], "a part of it is sliced")
        piece, _ = cut(cut(labels[dim], start)[1], max(end - start, 0))
    elif start < step and end == size and size % step == 0:
        piece, column = split(labels[dim], step)
        freeze(column, "one index is selected")
    else:
        freeze(labels[dim], "sliced with a step")
        piece = Atom(call.out.shape[dim], "sliced with a step")
    call.trace.set(call.out, (*labels[:dim], piece, *labels[dim + 1 :]))


def pad(call: Call) -> None:
    """aten.constant_pad_nd(x, pad): sizes before and after, from the last dimension; negative ones crop."""
    labels = list(call.trace.of(call.args[0]))
    amounts = call.args[1]
    for place in range(len(amounts) // 2):
        before, after = amounts[2 * place : 2 * place + 2]
        label = labels[-1 - place]
        if before < 0:
            label = cut(label, -before)[1]
        if after < 0:
            label = cut(label, label.size + after)[0]
        ends = [Atom(amount, "padding") if amount > 0 else Sum(()) for amount in (before, after)]
        labels[-1 - place] = Sum((ends[0], label, ends[1]))
    call.trace.set(call.out, labels)


RULES: Final[dict[str, Rule]] = {
    "aten.cat": cat,
    "aten.stack": stack,
    **dict.fromkeys(("aten.split", "aten.split_with_sizes"), pieces),
    "aten.unbind": unbind,
    "aten.select": select,
    "aten.slice": take,
    "aten.constant_pad_nd": pad,
}
