"""Train and eval mode, borrowed and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from torch import nn

#: What user code is made of: its mode is the user's.
_PLACES: Final = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module is in the mode that it was in."""
    with _restored(model):
        model.eval()
        yield


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """Inside, what the user wrote is in train mode, where a loss may be made that is not made otherwise; torch's own
    layers, which drop out and gather statistics, are in eval mode, as are classes made of them."""
    with _restored(model):
        model.train()
        for module in model.modules():
            if any(_behaves(kind) for kind in type(module).__mro__):
                module.training = False
        yield


def _behaves(kind: type) -> bool:
    """Whether it is a class of torch's own that is more than a place for other modules."""
    return kind.__module__.partition(".")[0] == "torch" and issubclass(kind, nn.Module) and kind not in _PLACES


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
