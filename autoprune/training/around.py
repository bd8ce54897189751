"""What happens around each run of a module, and ends however the run does. Knows one module; not what happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import WRAPPER_ASSIGNMENTS, partial, update_wrapper
from typing import Any, Self

from torch import nn


class Around:
    """Stands in the place of a module's forward, as hooks are not told of a run that is interrupted from the keyboard.

    Copies of the module, and files that it is saved in, have its forward alone. A module has one at a time: the latest.

    Attributes:
        acting: Whether anything happens; what has wrapped this meanwhile may hold it for longer.
    """

    def __init__(self, module: nn.Module, inside: Callable[[], AbstractContextManager[None]]) -> None:
        """Begin; inside: makes the context of a run."""
        if (other := self.on(module)) is not None:
            other.remove()
        self.acting, self._module, self._inside = True, module, inside
        self._own = vars(module).get("forward")
        self._forward = module.forward
        update_wrapper(self, self._forward, (*WRAPPER_ASSIGNMENTS, "__code__"))  # trainers and exporters look these up
        module.forward = self

    @classmethod
    def on(cls, module: nn.Module) -> Self | None:
        """What stands there now."""
        found = vars(module).get("forward")
        return found if isinstance(found, cls) else None

    def remove(self) -> None:
        """End."""
        self.acting = False
        if self.on(self._module) is not self:
            return
        if self._own is None:
            del self._module.forward
        else:
            self._module.forward = self._own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.acting:
            return self._forward(*args, **kwargs)
        with self._inside():
            return self._forward(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (self._forward,)
