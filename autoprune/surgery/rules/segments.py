"""Operators that join dimensions or take pieces out of them."""

from __future__ import annotations

from typing import Final

from autoprune.surgery.labels import ONE, Atom, Label, Prod, Sum, cut, freeze, split, unify
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
    """aten.split and its kin: consecutive pieces.

    Where the code says how large each is, that is watched; inside torch equal pieces are shares of the whole.
    """
    labels = call.trace.of(call.args[0])
    dim = call.arg(2, "dim", 0) % len(labels)
    if not call.trace.spoken and len({tensor.shape[dim] for tensor in call.out}) > 1:
        freeze(labels[dim], "split into unequal pieces")
    rest, first = labels[dim], None
    for tensor in call.out:
        piece, rest = cut(rest, tensor.shape[dim])
        first = first or piece
        if not call.trace.spoken:
            call.trace.equal.append((first, piece))
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
    call.trace.set(call.out, (*labels[:dim], *labels[dim + 1 :]))
    call.trace.owe(call.out, labels[dim], "one index is selected")


def take(call: Call) -> None:
    """aten.slice(x, dim, start, end, step): a strided one takes one column of a product.

    Where the code says which part is taken, that is watched; a part that torch takes by itself stays.
    """
    labels = call.trace.of(call.args[0])
    dim = call.arg(1, "dim", 0) % len(labels)
    size = labels[dim].size
    start, end, step = slice(call.arg(2, "start"), call.arg(3, "end"), call.arg(4, "step", 1)).indices(size)
    piece: Label
    if step == 1:
        if end - start < size and not call.trace.spoken:
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
        if min(before, after) < 0:
            freeze(label, "cropped by a negative padding")
            label = Atom(label.size + min(before, 0) + min(after, 0), "cropped by a negative padding")
        reason = "" if call.trace.spoken else "padding"
        ends = [Atom(amount, reason) if amount > 0 else Sum(()) for amount in (before, after)]
        labels[-1 - place] = Sum((ends[0], label, ends[1]))
    call.trace.set(call.out, labels)


def repeat(call: Call) -> None:
    """aten.repeat(x, counts): each dimension becomes count x size."""
    labels = call.trace.of(call.args[0])
    counts = call.args[1]
    whole = (*(ONE,) * (len(counts) - len(labels)), *labels)
    call.trace.set(call.out, [Prod((Atom(count), label)) for count, label in zip(counts, whole, strict=True)])


def turned(call: Call) -> None:
    """aten.roll(x, shifts, dims) and aten.flip(x, dims): positions change places, so they stay."""
    labels = call.trace.of(call.args[0])
    dims = call.arg(2 if call.name == "aten.roll" else 1, "dims", ())
    for label in [labels[dim] for dim in dims] or labels:
        freeze(label, f"{call.name} moves its positions")
    call.trace.set(call.out, labels)


RULES: Final[dict[str, Rule]] = {
    "aten.cat": cat,
    "aten.stack": stack,
    **dict.fromkeys(
        ("aten.split", "aten.split_with_sizes", "aten.unsafe_split", "aten.unsafe_split_with_sizes", "aten.chunk"),
        pieces,
    ),
    **dict.fromkeys(("aten.split_copy", "aten.split_with_sizes_copy", "aten.unsafe_chunk"), pieces),
    "aten.unbind": unbind,
    "aten.select": select,
    "aten.slice": take,
    "aten.constant_pad_nd": pad,
    "aten.repeat": repeat,
    **dict.fromkeys(("aten.roll", "aten.flip"), turned),
}
