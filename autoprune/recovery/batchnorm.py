"""BatchNorm statistics anew, on the calibration split (EagleEye, Li et al. 2020)."""

from __future__ import annotations

from itertools import islice
from typing import Final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task, batch_size

BATCHES: Final = 100


def recalibrate(model: nn.Module, task: Task) -> None:
    """Replace running means and variances by the cumulative average over at most `BATCHES` batches, in place.

    Only the normalisation layers are in train mode meanwhile; dropout stays off. Batches of one sample, which has no
    spread, are passed over; without such layers nothing runs.
    """
    layers = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    with evaluating(model), torch.no_grad():
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's way to ask for a cumulative average
            layer.train()
        for batch in islice(task.split("calibration"), BATCHES):
            if batch_size((batch,)) > 1:
                task.forward(model, batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
