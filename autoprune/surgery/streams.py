"""Which weights write into the same stream: whose results are added up, unscaled, row by row. Knows operators as they
run; not modules, nor which of them are dropped.

A residual stream is such a sum. What one of its weights adds to it, a later one can add as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from autoprune.surgery.contractions import ContractionWatch

_SUMS: Final = ("aten.add", "aten.add_")
#: Operators after which the same numbers follow each other in the same order.
_KEEPING: Final = frozenset(f"aten.{name}" for name in ("view", "_unsafe_view", "clone", "alias", "detach", "_to_copy"))


class StreamWatch(ContractionWatch):
    """Sees the streams of what runs inside.

    Attributes:
        streams: By name of a weight whose result was added to those of others, all of them in the order in which they
            were multiplied; of several sums, those of the longest.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """tensors: the model's, by name."""
        super().__init__(tensors)
        self._terms: Any = WeakTensorKeyDictionary()
        self._order: dict[str, int] = {}
        self.streams: dict[str, tuple[str, ...]] = {}

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = str(func.overloadpacket)
        terms: tuple[str, ...] = ()
        matched = self._matched(name, args)
        if matched is not None:
            contraction, _ = matched
            self._order.setdefault(contraction.weight, len(self._order))
            terms = () if contraction.stride else (contraction.weight,)
        elif name in _SUMS and kwargs.get("alpha", 1) == 1:
            terms = self._summed([each for each in args[:2] if isinstance(each, Tensor)])
        elif name in _KEEPING:
            terms = self._terms.get(args[0], ())
        out = super().seen(func, args, kwargs)
        for each in tree_leaves(out):
            if isinstance(each, Tensor):
                self._terms[each] = terms
        return out

    def _summed(self, operands: list[Tensor]) -> tuple[str, ...]:
        """The weights whose results are in a sum, each once; none of what is repeated along a dimension."""
        size = max(each.numel() for each in operands)
        terms = [name for each in operands if each.numel() == size for name in self._terms.get(each, ())]
        if len(set(terms)) < len(terms):
            return ()
        found = tuple(sorted(terms, key=self._order.__getitem__))
        for name in found if len(found) > 1 else ():
            self.streams[name] = max(self.streams.get(name, ()), found, key=len)
        return found
