"""Absolute factors of normalisation, each of which scales one slice (network slimming: Liu et al. 2017, eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.finetuning.regularizers import RegularizerContext


def penalty(context: RegularizerContext) -> Tensor:
    """|γ|, summed. At first it is ten times the loss, as `strength` is 10.

    Raises:
        UsageError: no slice has such a factor.
    """
    if not context.factors:
        raise UsageError(
            expected="normalisation with factors in the groups that may be cut, for the regularizer 'scale'",
            received="a model without them",
            cure="choose another one, such as --regularizer group-lasso",
        )
    return context.total(torch.abs, {name: context.held[name] for name in context.factors})
