"""The sum of squared weights that slices hold: large weights are drawn towards zero (weight decay within the loss)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.finetuning.regularizers import RegularizerContext


def penalty(context: RegularizerContext) -> Tensor:
    """w², summed; each weight once. At first it is ten times the loss, as `strength` is 10."""
    return context.total(torch.square, context.held)
