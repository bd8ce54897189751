"""Sparse matrices. Rows and columns that are told by number stay; what is multiplied with them passes on."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import freeze
from autoprune.surgery.rules.contraction import addmm, matmul
from autoprune.surgery.rules.pointwise import like_first
from autoprune.surgery.tracer import Call, Rule

PLACES = "places of a sparse tensor"


def placed(call: Call) -> None:
    """Values (n, ...) at places: what each value has besides passes on, as the last dimensions."""
    *indices, values = (leaf for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor))
    first, *rest = call.trace.of(values)
    for label in (first, *(label for tensor in indices for label in call.trace.of(tensor))):
        freeze(label, PLACES)
    call.trace.set(call.out, (*call.trace.fixed(call.out.shape[: call.out.dim() - len(rest)], PLACES), *rest))


def values(call: Call) -> None:
    """aten.values(x): those of the places, in one row."""
    labels = call.trace.of(call.args[0])
    numbered = len(labels) - call.out.dim() + 1
    for label in labels[:numbered]:
        freeze(label, PLACES)
    call.trace.set(call.out, (*call.trace.fixed(call.out.shape[:1], PLACES), *labels[numbered:]))


def places(call: Call) -> None:
    """aten.indices(x) and its kin."""
    call.trace.freeze(call.args[:1], PLACES)
    call.trace.set(call.out, call.trace.fixed(call.out.shape, PLACES))


def reduced(call: Call) -> None:
    """aten._sparse_mm_reduce_impl(a, b, how): the product with another sum."""
    first, arguments = call.out
    matmul(call._replace(args=call.args[:2], out=first))
    call.trace.set(arguments, call.trace.fixed(arguments.shape, PLACES))


RULES: Final[dict[str, Rule]] = {
    "aten._sparse_addmm": addmm,
    "aten._sparse_mm_reduce_impl": reduced,
    **dict.fromkeys(
        (
            *("aten._sparse_coo_tensor_with_dims_and_tensors", "aten._sparse_coo_tensor_unsafe"),
            *(
                "aten._sparse_compressed_tensor_unsafe",
                "aten.sparse_compressed_tensor",
                "aten._sparse_csr_tensor_unsafe",
            ),
        ),
        placed,
    ),
    **dict.fromkeys(("aten.values", "aten._values"), values),
    **dict.fromkeys(
        (
            *("aten.indices", "aten._indices", "aten.crow_indices", "aten.col_indices", "aten.ccol_indices"),
            "aten.row_indices",
        ),
        places,
    ),
    **dict.fromkeys(
        (
            *("aten.coalesce", "aten._coalesce", "aten._to_dense", "aten._to_sparse", "aten._to_sparse_csr"),
            *("aten._to_sparse_csc", "aten._sparse_softmax", "aten._sparse_log_softmax", "aten._coalesced_"),
        ),
        like_first,
    ),
}
