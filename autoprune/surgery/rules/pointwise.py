"""Operators that act element by element, with broadcasting. Dimensions that meet must be equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import ONE, Label, unify
from autoprune.surgery.tracer import Call, Rule


def broadcast(labels: Sequence[tuple[Label, ...]]) -> tuple[Label, ...]:
    """Align on the last dimension and unify; a dimension of size 1 takes the other's label."""
    rank = max((len(dims) for dims in labels), default=0)
    result: list[Label] = []
    for place in range(rank, 0, -1):
        meeting = [dims[-place] for dims in labels if len(dims) >= place and dims[-place].size != 1]
        for other in meeting[1:]:
            unify(meeting[0], other)
        result.append(meeting[0] if meeting else ONE)
    return tuple(result)


def pointwise(call: Call) -> None:
    inputs = [leaf for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor)]
    labels = broadcast([call.trace.of(tensor) for tensor in inputs])
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, labels)


def like_first(call: Call) -> None:
    """Results shaped like the first argument, whose other arguments are no tensors of its shape."""
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, call.trace.of(call.args[0]))


#: Pointwise operators that carry no pointwise tag.
RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.copy_", "aten.hardswish_", "aten.hardtanh_", "aten._prelu_kernel"), pointwise),
    **dict.fromkeys(
        (
            "aten._to_copy",
            "aten.alias",
            "aten.clone",
            "aten.contiguous",
            "aten.detach",
            "aten.detach_",
            "aten.lift_fresh",
            "aten.native_dropout",
            "aten.zeros_like",
            "aten.ones_like",
            "aten.empty_like",
            "aten.full_like",
            "aten.fill_",
            "aten.zero_",
        ),
        like_first,
    ),
}
