"""Functions that a model holds, made to see its copy. Knows what functions remember; not how a model is copied.

A hook that keeps what went by, or an activation that reads a weight, was often written where `self` was at hand, and
holds the model itself: the copy's would go on writing to, and reading from, the user's model.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType, MethodType
from typing import Any, Final

from torch import Tensor, nn

_EMPTY: Final = object()
_MAY_BE_OURS: Final = (nn.Module, Tensor, dict, list, FunctionType, MethodType)


class Closures:
    """Copies functions. memo: by `id`, what was copied, as `copy.deepcopy` keeps it; it may be filled afterwards."""

    def __init__(self, memo: dict[int, Any]) -> None:
        self._memo = memo
        self._made: list[tuple[FunctionType, FunctionType]] = []

    def copied(self, function: FunctionType, copied: Callable[[Any], Any]) -> FunctionType:
        """One that will see the copies; the same function where it holds nothing that could be copied."""
        cells, defaults = function.__closure__ or (), function.__defaults__ or ()
        held = [value for value in (*map(_content, cells), *defaults) if isinstance(value, _MAY_BE_OURS)]
        if not held or function.__module__.partition(".")[0] == "torch":
            return function
        new = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            tuple(self._memo.setdefault(id(cell), CellType()) for cell in cells),
        )
        new.__kwdefaults__, new.__qualname__ = function.__kwdefaults__, function.__qualname__
        vars(new).update(vars(function))
        self._memo[id(function)] = new  # it may hold itself
        self._made.append((function, new))
        for value in held:
            if isinstance(value, FunctionType | MethodType):
                copied(value)
        return new

    def bind(self) -> None:
        """When all is copied: let them see it."""
        for old, new in self._made:
            for cell, own in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
                if (value := _content(cell)) is not _EMPTY:
                    own.cell_contents = self._memo.get(id(value), value)
            if old.__defaults__:
                new.__defaults__ = tuple(self._memo.get(id(value), value) for value in old.__defaults__)


def _content(cell: CellType) -> Any:
    """What a function sees under a name of where it was written."""
    try:
        return cell.cell_contents
    except ValueError:  # not set
        return _EMPTY
