"""Operators that address positions by number. What is addressed stays whole; what comes along passes on."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from autoprune.surgery.labels import Label, freeze, unify
from autoprune.surgery.tracer import Call, Rule

ADDRESSED = "addressed by index"
MASKS: Final = (torch.bool, torch.uint8)


def index(call: Call) -> None:
    """aten.index(x, indices): dimensions with an index tensor are replaced by that tensor's, a mask's by one."""
    labels = call.trace.of(call.args[0])
    kept, first = _addressed(call, labels)
    chosen = call.trace.fixed(call.out.shape[first : first + call.out.dim() - len(kept)], ADDRESSED)
    call.trace.set(call.out, (*kept[:first], *chosen, *kept[first:]))


def index_put(call: Call) -> None:
    """aten.index_put(x, indices, values): the result is like x, and the values are like what is addressed."""
    labels = call.trace.of(call.args[0])
    kept, first = _addressed(call, labels)
    addressed = [each for each in call.args[1] if isinstance(each, Tensor)]
    chosen = max((1 if each.dtype in MASKS else each.dim() for each in addressed), default=0)
    target: list[Label | None] = [*kept[:first], *(None,) * chosen, *kept[first:]]
    for place, label in enumerate(reversed(call.trace.of(call.args[2])), 1):
        other = target[-place] if place <= len(target) else None
        if other is None:
            freeze(label, ADDRESSED)
        elif label.size != 1:
            unify(label, other)
    call.trace.set(call.out, labels)


def _addressed(call: Call, labels: tuple[Label, ...]) -> tuple[list[Label], int]:
    """Freeze what is addressed; what is not, and where in the result the addressed dimensions come together."""
    taken: list[int] = []
    dim = 0
    for each in call.args[1]:
        width = each.dim() if isinstance(each, Tensor) and each.dtype in MASKS else 1
        if isinstance(each, Tensor):
            taken += range(dim, dim + width)
            for label in call.trace.of(each):
                freeze(label, ADDRESSED)
        dim += width
    for place in taken:
        freeze(labels[place], ADDRESSED)
    together = taken == list(range(taken[0], taken[-1] + 1)) if taken else True
    kept = [label for place, label in enumerate(labels) if place not in taken]
    return kept, taken[0] if taken and together else 0


def select_many(call: Call) -> None:
    """aten.index_select(x, dim, index)."""
    labels = list(call.trace.of(call.args[0]))
    freeze(labels[call.args[1]], ADDRESSED)
    labels[call.args[1]] = (
        call.trace.of(call.args[2])[0] if call.args[2].dim() else call.trace.fixed((1,), ADDRESSED)[0]
    )
    call.trace.set(call.out, labels)


def gather(call: Call) -> None:
    """aten.gather(x, dim, index), aten.scatter(x, dim, index, source): other dimensions go together if whole."""
    labels = call.trace.of(call.args[0])
    dim = call.args[1] % max(len(labels), 1)
    others = [tensor for tensor in (call.args[2], *call.args[3:4]) if isinstance(tensor, Tensor) and tensor.dim()]
    for place, label in enumerate(labels):
        for tensor in others:
            other = call.trace.of(tensor)[place]
            if place == dim or other.size != label.size:
                freeze(label, ADDRESSED)
                freeze(other, ADDRESSED)
            else:
                unify(label, other)
    call.trace.set(call.out, call.trace.of(call.args[2]) if call.name == "aten.gather" else labels)


def index_add(call: Call) -> None:
    """aten.index_add(x, dim, index, source)."""
    labels = call.trace.of(call.args[0])
    dim = call.args[1] % len(labels)
    for place, (label, other) in enumerate(zip(labels, call.trace.of(call.args[3]), strict=True)):
        if place == dim:
            freeze(label, ADDRESSED)
            freeze(other, ADDRESSED)
        else:
            unify(label, other)
    call.trace.set(call.out, labels)


def triangle(call: Call) -> None:
    """aten.tril, aten.triu: rows and columns are told apart by number."""
    labels = call.trace.of(call.args[0])
    for label in labels[-2:]:
        freeze(label, ADDRESSED)
    call.trace.set(call.out, labels)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.index", "aten._unsafe_index"), index),
    **dict.fromkeys(("aten.index_put", "aten.index_put_", "aten._unsafe_index_put"), index_put),
    "aten.index_select": select_many,
    **dict.fromkeys(("aten.gather", "aten.scatter", "aten.scatter_", "aten.scatter_add", "aten.scatter_add_"), gather),
    **dict.fromkeys(("aten.scatter_reduce", "aten.scatter_reduce_"), gather),
    **dict.fromkeys(("aten.index_add", "aten.index_add_", "aten.index_copy", "aten.index_copy_"), index_add),
    **dict.fromkeys(("aten.index_reduce", "aten.index_reduce_"), index_add),
    **dict.fromkeys(("aten.tril", "aten.triu", "aten.tril_", "aten.triu_"), triangle),
}
