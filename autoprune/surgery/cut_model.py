"""A model with what was cut of it. Knows the record; `apply` cuts, repairs and training change its weights in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from autoprune.core.plan import Plan


@dataclass(frozen=True)
class CutModel:
    """What travels from cutting to measuring, training and saving.

    Attributes:
        model: The smaller model, or the dense one.
        plan: How many slices of each group it keeps.
        slices: By group that was cut, the indices that stayed, (kept,) int64.
        masks: By weight that was thinned out, which of its elements may be other than zero, bool of the weight's shape.
    """

    model: nn.Module = field(repr=False)
    plan: Plan = field(default_factory=lambda: Plan(()))
    slices: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    masks: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
