"""Convolutions and matrix products: summed dimensions must be equal, the others pass on."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import ONE, Label, Prod, freeze, split, unify
from autoprune.surgery.operations import expanded
from autoprune.surgery.rules.pointwise import broadcast
from autoprune.surgery.tracer import Call, Rule

KERNEL = "kernel window"
LOOKED_UP = "looked up by index"
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
    positions = call.trace.of(x)[x.dim() - len(kernel) :]
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
        call.trace.last_groups = group
    if bias is not None:
        unify(call.trace.of(bias)[0], produced)
    if weight.shape[2:].numel() > 1 or call.out.shape[-len(kernel) :] != x.shape[-len(kernel) :]:
        for label in positions:
            freeze(label, SPATIAL)
        positions = call.trace.fixed(call.out.shape[-len(kernel) :], SPATIAL)
    call.trace.set(call.out, (*batch, produced, *positions))


def matmul(call: Call) -> None:
    """(..., n, m) @ (..., m, p) for aten.mm and aten.bmm."""
    *batch, rows, summed = call.trace.of(call.args[0])
    *other_batch, other_summed, columns = call.trace.of(call.args[1])
    for left, right in zip(batch, other_batch, strict=True):
        unify(left, right)
    unify(summed, other_summed)
    if batch and not any(tensor in call.trace.names for tensor in call.args[:2]):
        call.trace.roles.append((batch[0], "head"))
        call.trace.roles += [(label, "head_dim") for label in (rows, summed, columns)]
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


def attention(call: Call) -> None:
    """Fused attention(q, k, v, ...): (..., heads, n, d), (..., heads, m, d), (..., heads, m, e) -> (..., heads, n, e).

    Fewer key heads than query heads: consecutive query heads share one.
    """
    query, key, value = (call.trace.of(tensor) for tensor in call.args[:3])
    heads, shared = query[-3], key[-3]
    if heads.size != shared.size:
        heads = split(heads, heads.size // shared.size)[0]
    for left, right in ((heads, shared), (shared, value[-3]), (query[-1], key[-1]), (key[-2], value[-2])):
        unify(left, right)
    for left, right, third in zip(query[:-3], key[:-3], value[:-3], strict=True):
        unify(left, right)
        unify(left, third)
    call.trace.roles.append((query[-3], "head"))
    call.trace.roles += [(query[-1], "head_dim"), (value[-1], "head_dim")]
    scores = (*query[:-1], key[-2])
    for mask in (*call.args[3:], *call.kwargs.values()):
        if isinstance(mask, Tensor) and mask.dim() > 1:
            for label, score in zip(reversed(call.trace.of(mask)), reversed(scores), strict=False):
                if label.size != 1:
                    unify(label, score)
    first, *others = (leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor))
    call.trace.set(first, (*query[:-1], value[-1]))
    for tensor in others:
        call.trace.set(tensor, call.trace.fixed(tensor.shape, "statistics"))


def grouped(call: Call) -> None:
    """aten._grouped_mm(x, weight, offsets): (rows, m) @ (experts, m, p) -> (rows, p), each row with its expert's.

    Whatever has no experts' dimension of its own is dealt out to them by the offsets, of which there is one an expert.
    The kernel wants rows of a multiple of 16 bytes.
    """
    *experts, rows, summed = call.trace.of(call.args[0])
    *others, other_summed, columns = call.trace.of(call.args[1])
    unify(summed, other_summed)
    offsets = call.arg(2, "offs")
    counted = [*experts, *others, *(() if offsets is None else call.trace.of(offsets))]
    for label in counted[1:]:
        unify(counted[0], label)
    aligned = 16 // call.args[0].element_size()
    call.trace.multiples += [(summed, aligned), (columns, aligned)]
    call.trace.set(call.out, (*counted[: call.out.dim() - 2], rows, columns))


def outer(call: Call) -> None:
    """aten.outer, aten.ger."""
    call.trace.set(call.out, (call.trace.of(call.args[0])[0], call.trace.of(call.args[1])[0]))


def trilinear(call: Call) -> None:
    """aten._trilinear(a, b, c, expand_a, expand_b, expand_c, summed): dimensions of size 1 are put in, the product is
    taken and dimensions are summed; `nn.Bilinear` is made of it."""
    factors = [
        tuple(expanded(call.trace.of(tensor), places, ONE))
        for tensor, places in zip(call.args[:3], call.args[3:6], strict=True)
    ]
    summed = call.arg(6, "sumdim")
    call.trace.set(call.out, [label for place, label in enumerate(broadcast(factors)) if place not in summed])


def distances(call: Call) -> None:
    """aten._cdist_forward(a, b, ...): (..., n, m) and (..., p, m) -> (..., n, p)."""
    *batch, rows, summed = call.trace.of(call.args[0])
    *other_batch, columns, other_summed = call.trace.of(call.args[1])
    unify(summed, other_summed)
    call.trace.set(call.out, (*broadcast([tuple(batch), tuple(other_batch)]), rows, columns))


def embedding(call: Call) -> None:
    """aten.embedding(weight, indices): rows are looked up, so they stay; the width passes on."""
    rows, width = call.trace.of(call.args[0])
    freeze(rows, LOOKED_UP)
    call.trace.roles.append((width, "embedding"))
    call.trace.set(call.out, (*call.trace.of(call.args[1]), width))


def embedding_bag(call: Call) -> None:
    """aten._embedding_bag(weight, indices, offsets, ...): rows are looked up and added up, the width passes on."""
    rows, width = call.trace.of(call.args[0])
    freeze(rows, LOOKED_UP)
    for tensor in call.args[1:3]:
        for label in call.trace.of(tensor):
            freeze(label, "bags")
    call.trace.roles.append((width, "embedding"))
    first, *others = call.out
    call.trace.set(first, (*call.trace.fixed(first.shape[:1], "bags"), width))
    for tensor in others:
        call.trace.set(tensor, call.trace.fixed(tensor.shape, "bags"))


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
    "aten._grouped_mm": grouped,
    "aten._trilinear": trilinear,
    "aten._cdist_forward": distances,
    **dict.fromkeys(("aten.outer", "aten.ger"), outer),
    "aten.embedding": embedding,
    **dict.fromkeys(("aten._embedding_bag", "aten._embedding_bag_forward_only"), embedding_bag),
    **dict.fromkeys(
        (
            "aten._scaled_dot_product_flash_attention_for_cpu",
            "aten._scaled_dot_product_flash_attention",
            "aten._scaled_dot_product_efficient_attention",
            "aten._scaled_dot_product_cudnn_attention",
            "aten._scaled_dot_product_attention_math",
            "aten._scaled_dot_product_fused_attention_overrideable",
        ),
        attention,
    ),
}
