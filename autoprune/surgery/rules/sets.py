"""Values as a set: where they lie among others, which there are, and how often. Where they came from is forgotten."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import freeze, unify
from autoprune.surgery.rules.pointwise import like_first
from autoprune.surgery.tracer import Call, Rule

COUNTED = "its places are numbers of what is sorted into them"
VALUES = "one place a value"


def sorted_into(call: Call) -> None:
    """aten.bucketize(x, boundaries): shaped like x; the boundaries are counted."""
    for leaf in call.args[1:]:
        if isinstance(leaf, Tensor):
            for label in call.trace.of(leaf):
                freeze(label, COUNTED)
    like_first(call)


def searched(call: Call) -> None:
    """aten.searchsorted(boundaries, x, ..., sorter=...): shaped like x; boundaries of more than one dimension lie row
    by row beside it."""
    values = call.trace.of(call.args[1]) if isinstance(call.args[1], Tensor) else ()
    for tensor in (call.args[0], call.kwargs.get("sorter")):
        if isinstance(tensor, Tensor):
            *rows, places = call.trace.of(tensor)
            freeze(places, COUNTED)
            for row, other in zip(rows, values, strict=False):
                unify(row, other)
    call.trace.set(call.out, values)


def among(call: Call) -> None:
    """aten.isin(x, others): shaped like x, and nothing to do with the shape of the others."""
    first = call.args[0]
    call.trace.set(call.out, call.trace.of(first) if isinstance(first, Tensor) else ())


def different(call: Call) -> None:
    """aten._unique2(x): its different values, for each element which of them it is, and how often each is there."""
    values, inverse, counts = call.out
    for tensor in (values, counts):
        call.trace.set(tensor, call.trace.fixed(tensor.shape, VALUES))
    call.trace.set(
        inverse,
        call.trace.of(call.args[0]) if inverse.dim() == call.args[0].dim() else call.trace.fixed(inverse.shape, VALUES),
    )


def counted(call: Call) -> None:
    """aten.histc(x, ...), aten.bincount(x, weights): how many elements have each value."""
    like = [call.trace.of(leaf) for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor)]
    for other in like[1:]:
        for left, right in zip(like[0], other, strict=True):
            unify(left, right)
    call.trace.set(call.out, call.trace.fixed(call.out.shape, VALUES))


RULES: Final[dict[str, Rule]] = {
    "aten.bucketize": sorted_into,
    "aten.searchsorted": searched,
    "aten.isin": among,
    "aten._unique2": different,
    **dict.fromkeys(("aten.histc", "aten.bincount"), counted),
}
