"""What happens when an optimizer steps. Knows optimizers of torch, all of them, as one may be made anew at any time."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle


def after_steps(parameters: Iterable[nn.Parameter], call: Callable[[], None]) -> RemovableHandle:
    """Call a function after each step of an optimizer that has one of the parameters.

    Args:
        parameters: Of one model.
        call: The function.

    Returns:
        What ends that.
    """
    own = {id(parameter) for parameter in parameters}

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(id(each) in own for group in optimizer.param_groups for each in group["params"]):
            call()

    return register_optimizer_step_post_hook(stepped)


class StepGradients:
    """The gradients that an optimizer stepped by: of all processes together, clipped and unscaled as it got them."""

    def __init__(self) -> None:
        self._found: dict[str, Tensor] = {}
        self._end: Callable[[], Any] | None = None

    def watch(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Look at these, and at no others any more, in each step until `taken` or the end of this object."""
        self._close()
        found, own = self._found, dict(parameters)

        def look() -> None:
            found.update({name: each.grad.clone() for name, each in own.items() if each.grad is not None})

        if own:
            self._end = weakref.finalize(self, after_steps(own.values(), look).remove)

    def taken(self) -> dict[str, Tensor]:
        """By name, those of the latest step; nothing where there was none."""
        found = dict(self._found)
        self._close()
        return found

    def _close(self) -> None:
        self._found.clear()
        if self._end is not None:
            self._end()
            self._end = None
