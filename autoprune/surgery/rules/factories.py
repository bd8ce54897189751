"""Operators that make tensors. Uniform ones may have any size; those that count positions stay as they are."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import Atom
from autoprune.surgery.rules.pointwise import pointwise
from autoprune.surgery.tracer import Call, Rule


def uniform(call: Call) -> None:
    """Every position is alike, so that a part of it is the same with less."""
    call.trace.set(call.out, [Atom(size) for size in call.out.shape])


def identity(call: Call) -> None:
    """aten.eye(n, m): rows and columns that change places together leave a square one as it is."""
    rows, columns = call.out.shape
    place = Atom(rows)
    call.trace.set(call.out, (place, place if rows == columns else Atom(columns)))


def drawn(call: Call) -> None:
    """aten.normal(mean, deviation, size): tensors go element by element; of numbers, every position is alike."""
    if any(isinstance(each, Tensor) for each in call.args[:2]):
        pointwise(call)
    else:
        uniform(call)


def counted(call: Call) -> None:
    """Every position is another."""
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, call.trace.fixed(tensor.shape, "its positions are numbered"))


RULES: Final[dict[str, Rule]] = {
    **{f"aten.{prefix}{name}": uniform for name in ("zeros", "ones", "empty", "full") for prefix in ("", "new_")},
    **dict.fromkeys(("aten.rand", "aten.randn", "aten.randint", "prims.normal"), uniform),
    **dict.fromkeys(("aten.empty_strided", "aten.new_empty_strided"), uniform),
    "aten.normal": drawn,
    "aten.eye": identity,
    **dict.fromkeys(
        (
            *("aten.arange", "aten.linspace", "aten.logspace", "aten.tril_indices", "aten.triu_indices"),
            *("aten.scalar_tensor", "aten.randperm", "aten.hann_window", "aten.empty_permuted"),
            *("aten._local_scalar_dense", "aten.equal", "aten.is_nonzero", "aten.item"),
        ),
        counted,
    ),
}
