"""Reductions drop dimensions or leave them with size 1; what remains passes on."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import ONE, freeze
from autoprune.surgery.tracer import Call, Rule


def reduce(call: Call) -> None:
    """op(x, dim, keepdim): `dim` is a number, a list, or nothing for all."""
    labels = call.trace.of(call.args[0])
    dim = call.arg(1, "dim")
    if isinstance(dim, bool) or dim is None or dim == []:
        dims = set(range(len(labels)))
    else:
        dims = {each % max(len(labels), 1) for each in (dim if isinstance(dim, list | tuple) else [dim])}
    kept = [label for place, label in enumerate(labels) if place not in dims]
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            keepdim = tensor.dim() == len(labels)
            call.trace.set(
                tensor, [ONE if place in dims else label for place, label in enumerate(labels)] if keepdim else kept
            )


def along(call: Call) -> None:
    """Running sums and their kin: same shape, but the order along the dimension matters, so it stays."""
    labels = call.trace.of(call.args[0])
    freeze(labels[call.arg(1, "dim")], f"{call.name} runs along it")
    for tensor in tree_leaves(call.out):
        call.trace.set(tensor, labels)


def softmax(call: Call) -> None:
    """Same shape; every part of the dimension is treated alike."""
    call.trace.set(call.out, call.trace.of(call.args[0]))


def commonest(call: Call) -> None:
    """aten.mode(x, dim): the last dimension where none is given."""
    at_index(call._replace(args=(call.args[0], call.arg(1, "dim", -1))))


def kth(call: Call) -> None:
    """aten.kthvalue(x, k, dim): as an arg-reduction, but k counts along the dimension."""
    dim = call.arg(2, "dim", -1)
    freeze(call.trace.of(call.args[0])[dim], "its k-th value is taken")
    at_index(call._replace(args=(call.args[0], dim)))


def segmented(call: Call) -> None:
    """aten.segment_reduce(x, how, lengths=..., axis=...): consecutive parts of a dimension become one each."""
    labels = list(call.trace.of(call.args[0]))
    axis = call.kwargs.get("axis", 0)
    freeze(labels[axis], "its segments are reduced")
    labels[axis] = call.trace.fixed((call.out.shape[axis],), "segments")[0]
    call.trace.set(call.out, labels)


def at_index(call: Call) -> None:
    """Arg-reductions: where its indices are used the dimension stays; all of them without one."""
    dim = call.arg(1, "dim")
    labels = call.trace.of(call.args[0])
    reduce(call)
    if dim is not None:
        call.trace.choices.append((labels[dim], 1))
    reason = f"{call.name} returns its indices"
    for leaf in tree_leaves(call.out):
        if leaf.is_floating_point():
            continue
        if dim is not None:
            call.trace.owe(leaf, labels[dim], reason)
            continue
        for label in labels:
            freeze(label, reason)


def ordered(call: Call) -> None:
    """aten.sort, aten.topk: the dimension is dealt out in another order, so it stays."""
    place = 2 if call.name == "aten.topk" else 1
    dim = call.arg(place, "dim", -1)
    labels = list(call.trace.of(call.args[0]))
    if call.name == "aten.topk":
        call.trace.choices.append((labels[dim], int(call.args[1])))
    freeze(labels[dim], f"{call.name} orders it")
    for tensor in tree_leaves(call.out):
        if labels:
            labels[dim] = call.trace.fixed((tensor.shape[dim],), f"{call.name} orders it")[0]
        call.trace.set(tensor, labels)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(
        (
            *("aten.mean", "aten.sum", "aten.amax", "aten.amin", "aten.var", "aten.std", "aten.prod"),
            *("aten.logsumexp", "aten.all", "aten.any", "aten.var_mean", "aten.std_mean", "aten.nansum"),
            *("aten.count_nonzero", "aten.nanmean", "aten._is_all_true", "aten._is_any_true", "aten.aminmax"),
        ),
        reduce,
    ),
    **dict.fromkeys(
        ("aten.linalg_vector_norm", "aten.norm"),
        lambda call: reduce(call._replace(args=(call.args[0], *call.args[2:]))),
    ),
    **dict.fromkeys(("aten.cumsum", "aten.cumprod", "aten.cummax", "aten.cummin", "aten.logcumsumexp"), along),
    **dict.fromkeys(("aten._softmax", "aten._log_softmax", "aten._safe_softmax"), softmax),
    **dict.fromkeys(("aten.argmax", "aten.argmin", "aten.max", "aten.min", "aten.median", "aten.nanmedian"), at_index),
    "aten.mode": commonest,
    "aten.kthvalue": kth,
    "aten.segment_reduce": segmented,
    **dict.fromkeys(("aten.sort", "aten.topk", "aten.argsort"), ordered),
}
