"""Single weights that go for others, whose gradients are larger (RigL: Evci et al. 2020, section 3). Knows weights and
masks; not when.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.search_spaces.pattern import Pattern
from autoprune.surgery import Traced
from autoprune.surgery.sparsity import mask, share_of


def exchanged(
    traced: Traced,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    share: float,
) -> dict[str, Tensor]:
    """Masks with as many elements, of which some are others.

    Args:
        traced: With a group for each weight whose elements may go.
        masks: By weight, which elements may be other than zero (bool, of its shape).
        weights: As they are; the smallest that are there go. One that went may come again, where its gradient is large.
        gradients: Of the whole weights, where there are any.
        share: Of what is there that goes.

    Returns:
        By weight with a mask and a gradient, the new mask.
    """
    found = {}
    for group in traced.open:
        name = group.members[0].tensor if group.kind == "weight" else ""
        if name in masks and name in gradients:
            dim, pattern = traced.reading[name].dim, Pattern.parse(group.pattern)
            found[name] = _exchanged(
                weights[name].detach(), gradients[name], here=masks[name], dim=dim, pattern=pattern, share=share
            )
    return found


def _exchanged(weight: Tensor, gradient: Tensor, here: Tensor, dim: int, pattern: Pattern, share: float) -> Tensor:
    here = here.to(weight.device)
    # Of n of each m inputs, those that go are the smallest of all: each m fill up again.
    alone = Pattern() if pattern.among else pattern
    left = (1 - share) * share_of(here, dim, alone)
    staying = mask(weight.abs().masked_fill(~here, -1), dim, alone, left)
    wanted = gradient.abs().nan_to_num().masked_fill(staying, torch.inf)
    # Without a gradient nothing is known to be better than what was there.
    wanted = wanted.masked_fill(here & (wanted == 0), torch.finfo(wanted.dtype).tiny)
    return mask(wanted, dim, pattern, share_of(here, dim, pattern))
