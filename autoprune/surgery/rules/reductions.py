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
    """Softmax and its kin: same shape, but the dimension they run along carries a meaning of its own and stays."""
    labels = call.trace.of(call.args[0])
    freeze(labels[call.args[1]], f"{call.name} runs along it")
    call.trace.set(call.out, labels)


def at_index(call: Call) -> None:
    """Arg-reductions: the dimension is addressed by index, so it stays."""
    freeze(call.trace.of(call.args[0])[call.arg(1, "dim", 0) or 0], f"{call.name} returns its indices")
    reduce(call)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(
        (
            "aten.mean",
            "aten.sum",
            "aten.amax",
            "aten.amin",
            "aten.var",
            "aten.std",
            "aten.prod",
            "aten.logsumexp",
            "aten.all",
            "aten.any",
        ),
        reduce,
    ),
    "aten.linalg_vector_norm": lambda call: reduce(call._replace(args=(call.args[0], *call.args[2:]))),
    **dict.fromkeys(("aten._softmax", "aten._log_softmax", "aten.cumsum"), along),
    **dict.fromkeys(("aten.argmax", "aten.argmin"), at_index),
}
