"""Nothing is added."""

from __future__ import annotations

from torch import Tensor

from autoprune.finetuning.regularizers import RegularizerContext


def penalty(context: RegularizerContext) -> Tensor:
    """Zero."""
    return context.total(lambda weight: weight, {})
