"""Train and eval mode, borrowed and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module is in the mode that it was in."""
    with _restored(model):
        model.eval()
        yield


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """Inside, what the user wrote is in train mode, where a loss may be made that is not made otherwise; torch's own
    layers, which drop out and gather statistics, are in eval mode."""
    with _restored(model):
        model.train()
        for module in model.modules():
            if type(module).__module__.startswith("torch."):
                module.training = False
        yield


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
