"""Which tensor reaches which through sums, scalings and norms. Knows the order of results; not labels or modules.

What a residual stream is made of: x reaches y = x + f(x) directly, and f's result reaches it too.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

#: Operators besides the pointwise ones that keep what they are given recognisable.
PASSING: Final = frozenset(
    f"aten.{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "clone", "contiguous", "expand", "squeeze",
        "unsqueeze", "alias", "detach", "native_dropout", "_to_copy", "native_layer_norm", "_fused_rms_norm",
        "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_group_norm",
        "roll", "constant_pad_nd", "slice",
    )
)  # fmt: skip


#: A branch joins its stream within so many sums.
_NEXT: Final = 4
_SUMS: Final = ("aten.add", "aten.add_")


class Flow:
    """Results in the order in which they were made, each with those that it was directly made of."""

    def __init__(self) -> None:
        self._parents: list[tuple[int, ...]] = []
        self._sums: list[tuple[int, int, int]] = []
        self._of: Any = WeakTensorKeyDictionary()

    def number(self, tensor: Tensor) -> int:
        """The place of a tensor in the order; one not seen before starts there."""
        if tensor not in self._of:
            self._of[tensor] = len(self._parents)
            self._parents.append(())
        found: int = self._of[tensor]
        return found

    def record(self, name: str, passes: bool, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """An operator was run; `passes` says whether its inputs are still recognisable in its results."""
        parents = tuple(self.number(tensor) for tensor in inputs) if passes else ()
        for tensor in outputs:
            self._of[tensor] = len(self._parents)
            self._parents.append(parents)
            if name in _SUMS and len(parents) == 2:
                self._sums.append((len(self._parents) - 1, *parents))

    def reaches(self, start: int, end: int) -> bool:
        """Whether the tensor numbered `start` is recognisable in the one numbered `end`."""
        seen, waiting = {end}, [end]
        while waiting:
            each = waiting.pop()
            if each == start:
                return True
            for parent in self._parents[each]:
                if parent >= start and parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return False

    def joins(self, start: int, end: int) -> int | None:
        """The sum in which the tensor numbered `end` meets a stream that was there before `start` was made of it."""
        first = bisect.bisect(self._sums, (end + 1,))
        for result, *operands in self._sums[first : first + _NEXT]:
            for stream, other in (operands, operands[::-1]):
                if stream <= start and self.reaches(end, other):
                    return result
        return None
