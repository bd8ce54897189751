"""Watch the Python calls of one run for the sizes they are given. Knows how to listen; what each call says of sizes is
in `slots`, what follows from it in `equations`.

Shapes that the code asks for come back as tagged numbers, so that a size computed from them is known to be so. A size
that is neither tagged nor -1 is a number in the code, and what has that size must stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from autoprune.surgery.call_site import call_site
from autoprune.surgery.equations import Equation
from autoprune.surgery.labels import Label, Prod
from autoprune.surgery.size_arguments import AFTER, BEFORE, Said
from autoprune.surgery.tracer import Tracer
from autoprune.surgery.tracked_int import Attribute, Expression, Operation, TrackedInt
from autoprune.surgery.tracked_size import TrackedSize

UNREAD = "given a size in a way that is not understood"


Reader = Callable[[Said], None]


class SizeWatcher(TorchFunctionMode):
    """Collects the equations of one run; the tracer must be active below it."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer
        self.equations: list[Equation] = []
        self._inside = False
        self._open: dict[FunctionType, FunctionType | None] = {}

    def compared(self, left: Expression, right: Expression) -> None:
        """Two numbers were found equal: sizes must stay so, as the code may go another way where they are not.

        Where an attribute is among them, it is a hint only, for what no size defines. What torch compares inside a call
        is its own affair.
        """
        if self._inside:
            return
        if isinstance(left, Operation) and left.operator == "%":
            whole = left.left
            if isinstance(whole, Operation) and whole.operator == "-" and whole.left == 0:
                whole = whole.right
            if isinstance(whole, Label) and isinstance(left.right, int):
                self.tracer.multiples.append((whole, left.right))
            return
        kept = (isinstance(each, Attribute | Operation) for each in (left, right))
        self.equations.append(Equation(left, right, weak=any(kept), site=call_site()))

    def tagged(self, label: Label) -> TrackedInt:
        return TrackedInt(label.size, label, self.compared)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args)
        before, after = BEFORE.get(name), AFTER.get(name)
        if isinstance(func, FunctionType) and not before and not after:
            opened = self._opened(func)
            if opened is None:
                return func(*args, **kwargs)
            with self:
                return opened(*args, **kwargs)
        self._inside = True
        try:
            out = self._watched(func, before, after, Said(self.tracer, self.equations, args, kwargs))
        finally:
            self._inside = False
        return self._answer(name, args, kwargs, out)

    def _watched(self, func: Any, before: Reader | None, after: Reader | None, said: Said) -> Any:
        if before is not None:
            self._read(before, said)
        self.tracer.spoken = bool(before or after)
        try:
            out = func(*said.args, **said.kwargs)
        finally:
            self.tracer.spoken = False
        if after is not None:
            self._read(after, said._replace(out=out))
        return out

    def _read(self, reader: Reader, said: Said) -> None:
        try:
            reader(said)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            # Called in a way that was not foreseen: what it touches stays whole, the trace goes on.
            tensors = [leaf for leaf in tree_leaves((said.args, said.kwargs, said.out)) if isinstance(leaf, Tensor)]
            self.tracer.freeze(tensors, UNREAD)

    def _answer(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """Sizes that the code asks for, tagged."""
        if name == "size":
            labels = self.tracer.look(args[0])
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return self._told(out, labels) if dim is None else self._told((out,), (labels[dim],))[0]
        if name in ("numel", "nelement") and not args[0].is_nested:
            return TrackedInt(out, Prod(self.tracer.look(args[0])), self.compared)
        return out

    def _told(self, sizes: Iterable[Any], labels: Iterable[Label]) -> TrackedSize:
        """The sizes, tagged; the lengths of unlike rows are no number."""
        pairs = zip(sizes, labels, strict=True)
        return TrackedSize(self.tagged(label) if isinstance(size, int) else size for size, label in pairs)

    def _opened(self, func: FunctionType) -> FunctionType | None:
        """A function of torch that asks for overrides first, without that question: it runs, and its calls are seen."""
        if func not in self._open:
            # A method that calls the one it overrides would come back here for ever; those are in the tables below.
            called = set(func.__code__.co_names) & func.__globals__.keys()
            guards = [name for name in called if name.startswith("has_torch_function")]
            opened = None
            if guards:
                namespace = {**func.__globals__, **dict.fromkeys(guards, _never)}
                opened = FunctionType(func.__code__, namespace, func.__name__, func.__defaults__, func.__closure__)
                opened.__kwdefaults__ = func.__kwdefaults__
            self._open[func] = opened
        return self._open[func]

    def _attribute(self, func: Any, args: tuple[Any, ...]) -> Any:
        out = func(*args)
        if isinstance(out, torch.Size):
            return self._told(out, self.tracer.look(args[0]))
        if func == _DATA and isinstance(out, Tensor):
            self.tracer.set(out, self.tracer.of(args[0]))
        return out


_DATA: Final = Tensor.data.__get__  # type: ignore[attr-defined]


def _never(*_: Any) -> bool:
    return False
