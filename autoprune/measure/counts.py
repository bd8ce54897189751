"""Costs that are counted instead of measured: parameters, floating-point operations, bytes on disk."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autoprune.core.measurement import Measurement
from autoprune.models.weights import file_size
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating


def counts(model: nn.Module, inputs: Any) -> dict[str, Measurement]:
    """By key: `params`, `flops` of one forward pass of `inputs` (a multiply-add is two), `size` in bytes as saved."""
    with torch.no_grad(), evaluating(model), FlopCounterMode(display=False) as counter:
        Example.of(inputs).call(model)
    values = {
        "params": (sum(parameter.numel() for parameter in model.parameters()), "1"),
        "flops": (counter.get_total_flops(), "1"),
        "size": (file_size(model), "B"),
    }
    return {key: Measurement.exact(key, float(value), unit) for key, (value, unit) in values.items()}
