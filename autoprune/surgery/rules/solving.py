"""Systems of equations: right-hand sides are solved one by one, so their number passes on; the matrix stays whole."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import freeze
from autoprune.surgery.rules.pointwise import broadcast
from autoprune.surgery.tracer import Call, Rule

SOLVED = "a system of equations is solved"


def _solved(call: Call, matrix: Tensor, right: Tensor, *, left: bool = True) -> None:
    """Matrices (..., n, n) or (..., m, n) and right-hand sides (..., m, k), or (..., k, n) where not `left`."""
    *batch, first, second = call.trace.of(right)
    *others, rows, columns = call.trace.of(matrix)
    equations, count = (first, second) if left else (second, first)
    for label in (equations, rows, columns):
        freeze(label, SOLVED)
    leading = broadcast([tuple(batch), tuple(others)])
    solution, *rest = (leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor))
    (unknown,) = call.trace.fixed(solution.shape[-2 if left else -1 :][:1], SOLVED)
    call.trace.set(solution, (*leading, *((unknown, count) if left else (count, unknown))))
    for tensor in rest:
        call.trace.set(tensor, call.trace.fixed(tensor.shape, SOLVED))


def triangular(call: Call) -> None:
    """aten.linalg_solve_triangular(a, b, upper=..., left=True): a x = b, or x a = b."""
    _solved(call, call.args[0], call.args[1], left=call.kwargs.get("left", True))


def general(call: Call) -> None:
    """aten._linalg_solve_ex(a, b, left=True).

    Raises:
        LookupError: b is a vector (n,), or vectors (..., n) beside matrices (..., n, n).
    """
    matrix, right = call.args[:2]
    if right.dim() < matrix.dim():
        raise LookupError("right-hand sides that are vectors")
    _solved(call, matrix, right, left=call.kwargs.get("left", True))


def factored(call: Call) -> None:
    """aten.cholesky_solve(b, factor), aten.triangular_solve(b, a)."""
    _solved(call, call.args[1], call.args[0])


def least_squares(call: Call) -> None:
    """aten.linalg_lstsq(a, b): the solution with the smallest error."""
    _solved(call, call.args[0], call.args[1])


def decomposed(call: Call) -> None:
    """aten.linalg_lu_solve(factors, pivots, b, left=True)."""
    for label in call.trace.of(call.args[1]):
        freeze(label, SOLVED)
    _solved(call, call.args[0], call.args[2], left=call.kwargs.get("left", True))


RULES: Final[dict[str, Rule]] = {
    "aten.linalg_solve_triangular": triangular,
    "aten._linalg_solve_ex": general,
    **dict.fromkeys(("aten.cholesky_solve", "aten._cholesky_solve_helper", "aten.triangular_solve"), factored),
    "aten.linalg_lstsq": least_squares,
    "aten.linalg_lu_solve": decomposed,
}
