"""Convolutions and matrix products: summed dimensions must be equal, the others pass on."""

from __future__ import annotations

from typing import Final

from autoprune.surgery.labels import Atom, Label, Prod, freeze, split, unify
from autoprune.surgery.tracer import Call, Rule

KERNEL = "kernel window"
SPATIAL = "spatial"


def convolution(call: Call) -> None:
    """aten.convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups).

    Weight is (out, in / groups, *kernel), transposed (in, out / groups, *kernel); with g groups the channels are
    g x in/g and g x out/g, row-major.
    """
    x, weight, bias = call.args[0], call.args[1], call.args[2]
    transposed, count = call.args[6], call.args[8]
    first, second, *kernel = call.trace.of(weight)
    for window in kernel:
        freeze(window, KERNEL)
    *batch, channels = call.trace.of(x)[: x.dim() - len(kernel)]
    produced: Label
    if count == 1:
        consumed, produced = (first, second) if transposed else (second, first)
        unify(channels, consumed)
    else:
        group, inner = split(channels, x.shape[len(batch)] // count)
        other_group, rest = split(first, weight.shape[0] // count)
        unify(group, other_group)
        unify(inner, rest if transposed else second)
        produced = Prod((group, second)) if transposed else first
        _remember(call, group)
    if bias is not None:
        unify(call.trace.of(bias)[0], produced)
    call.trace.set(call.out, (*batch, produced, *call.trace.fixed(call.out.shape[-len(kernel) :], SPATIAL)))


def _remember(call: Call, group: Label) -> None:
    """The number of groups is an attribute of the module; without a named weight it could not be mended."""
    weight = call.args[1]
    if weight in call.trace.names:
        call.trace.conv_groups[call.trace.names[weight]] = group
    else:
        freeze(group, "groups of a convolution whose weight is computed")


def matmul(call: Call) -> None:
    """(..., n, m) @ (..., m, p) for aten.mm and aten.bmm."""
    *batch, rows, summed = call.trace.of(call.args[0])
    *other_batch, other_summed, columns = call.trace.of(call.args[1])
    for left, right in zip(batch, other_batch, strict=True):
        unify(left, right)
    unify(summed, other_summed)
    call.trace.set(call.out, (*batch, rows, columns))


def addmm(call: Call) -> None:
    """aten.addmm(bias, a, b) and aten.baddbmm: a @ b plus a bias that is broadcast."""
    bias, left, right = call.args[:3]
    matmul(call._replace(args=(left, right)))
    produced = call.trace.of(call.out)
    for place, label in enumerate(reversed(call.trace.of(bias)), 1):
        if label.size != 1:
            unify(label, produced[-place])


def linear(call: Call) -> None:
    """aten.linear(x, weight, bias): weight is (out, in)."""
    x, weight, bias = call.args[0], call.args[1], call.arg(2, "bias")
    *batch, consumed = call.trace.of(x)
    produced, summed = call.trace.of(weight)
    unify(consumed, summed)
    if bias is not None:
        unify(call.trace.of(bias)[0], produced)
    call.trace.set(call.out, (*batch, produced))


def vector(call: Call) -> None:
    """aten.mv, aten.dot: the summed dimension disappears."""
    *rows, summed = call.trace.of(call.args[0])
    unify(summed, call.trace.of(call.args[1])[0])
    call.trace.set(call.out, rows)


def embedding(call: Call) -> None:
    """aten.embedding(weight, indices): rows are looked up, so they stay; the width passes on."""
    rows, width = call.trace.of(call.args[0])
    freeze(rows, "looked up by index")
    call.trace.set(call.out, (*(Atom(size, "indices") for size in call.args[1].shape), width))


RULES: Final[dict[str, Rule]] = {
    "aten.convolution": convolution,
    "aten._convolution": convolution,
    "aten.mm": matmul,
    "aten.bmm": matmul,
    "aten.addmm": addmm,
    "aten.baddbmm": addmm,
    "aten.linear": linear,
    "aten.mv": vector,
    "aten.dot": vector,
    "aten.embedding": embedding,
}
