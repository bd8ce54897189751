"""To see operators as they run. Knows what hides them (compilers, operators made of functions); not what they mean."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

#: Whoever has compiled anything has imported the first; the second compiles itself when it is called.
_COMPILING: Final = ("torch._dynamo", "torch.nn.attention.flex_attention")


@contextmanager
def eager() -> Iterator[None]:
    """What `torch.compile` was asked to compile runs as it was written inside, and leaves nothing in its caches.

    The code of a cut or a watched copy is the user's code, for which compiled forms, and failures, are remembered.
    """
    if not any(name in sys.modules for name in _COMPILING):  # to import the compiler takes a second
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def jagged(leaf: Any) -> bool:
    """A tensor of rows of unlike lengths that is made of two: the values of all rows, and where each row ends."""
    return isinstance(leaf, Tensor) and leaf.is_nested and is_traceable_wrapper_subclass(leaf)


def parts(tensor: Tensor) -> list[Tensor]:
    """What holds the values of a nested tensor, in one tensor or in rows; any other is itself."""
    if not tensor.is_nested:
        return [tensor]
    if not jagged(tensor):
        return list(tensor.unbind())
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    return [getattr(tensor, names[0])]


class OperatorWatch(TorchDispatchMode):
    """A dispatch mode that is shown every plain operator, and of higher-order ones (flexible attention) those that they
    are made of; nothing is compiled while it is active. `torch.cond` and loops refuse to run under any such mode."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._eager = ExitStack()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare each process the seconds that wrapping a mode for torch.compile takes to import."""
        return False

    def __enter__(self) -> Any:
        if not self._depth:
            self._eager.enter_context(eager())
        self._depth += 1
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._depth -= 1
        if not self._depth:
            self._eager.close()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if types and any(jagged(leaf) for leaf in tree_leaves((args, kwargs))):
            return NotImplemented  # it takes itself apart, and what it is made of comes here
        if isinstance(func, HigherOrderOperator):
            plain = func.py_kernels.get(DispatchKey.CompositeExplicitAutograd, func)
            with self:
                return plain(*args, **(kwargs or {}))
        return self.seen(func, args, kwargs or {})

    @abstractmethod
    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One operator call: it must be made, and its result returned."""
