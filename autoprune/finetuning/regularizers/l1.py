"""The sum of absolute weights that slices hold: each single one is drawn towards zero (Tibshirani 1996)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.finetuning.regularizers import RegularizerContext


def penalty(context: RegularizerContext) -> Tensor:
    """|w|, summed; each weight once. At first it is ten times the loss, as `strength` is 10."""
    return context.total(torch.abs, context.held)
