"""BatchNorm statistics anew, on the calibration split (EagleEye, Li et al. 2020)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

BATCHES: Final = 100
#: So many values a channel in every layer are enough: their mean is known to a hundredth of their spread.
VALUES: Final = 8192


def recalibrate(model: nn.Module, task: Task) -> None:
    """Replace running means and variances by the cumulative average over some batches, in place.

    As many as show each layer `VALUES` values a channel, and at most `BATCHES`.

    Only the normalisation layers are in train mode meanwhile; dropout stays off. Batches of one sample, which has no
    spread, are passed over; without such layers nothing runs.
    """
    with renewed(model) as enough, torch.no_grad():
        if enough():
            return
        for batch in islice(task.batches("calibration"), BATCHES):
            if not lone(batch):
                task.forward(model, batch)
            if enough():
                break


def lone(batch: Any) -> bool:
    """Whether a batch shows that it is a single sample."""
    tensors = [tensor for tensor in Example.of((batch,)).tensors if tensor.dim()]
    return bool(tensors) and len(tensors[0]) == 1


@contextmanager
def renewed(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """Inside, the model is in eval mode but for its BatchNorm layers, which average the statistics of what they are
    given, from nothing; whether each has been given enough.

    A layer that is given nothing, or what is not finite, keeps the statistics that it had.
    """
    layers = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    before = [(layer.momentum, {name: each.clone() for name, each in layer.named_buffers()}) for layer in layers]
    seen: Counter[nn.Module] = Counter()

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[layer] += inputs[0].numel() // max(inputs[0].shape[1], 1)

    with evaluating(model):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's way to ask for a cumulative average
            layer.train()
        hooks = [layer.register_forward_pre_hook(count) for layer in layers]
        try:
            yield lambda: all(seen[layer] >= VALUES for layer in layers)
        finally:
            for hook in hooks:
                hook.remove()
            for layer, (momentum, buffers) in zip(layers, before, strict=True):
                layer.momentum = momentum
                own = dict(layer.named_buffers())
                if not seen[layer] or not all(bool(torch.isfinite(each).all()) for each in own.values()):
                    for name, each in buffers.items():
                        own[name].copy_(each)
