"""The squares of weights that will go, ever more strongly (growing regularization, GReg-1: Wang et al. 2021, eq. 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from autoprune.finetuning.regularizers import RegularizerContext

OPTIONS: Final[Mapping[str, str]] = {"strength": "10", "growth": "linear"}


def penalty(context: RegularizerContext) -> Tensor:
    """w², summed over the slices that the criterion would cut next; the others are left alone.

    At the last step of a phase it is weighed so that at the first it would be ten times the loss, as `strength` is 10.
    """
    return context.total(torch.square, context.going)
