"""No repair: what was cut is gone, and nothing makes up for it. The baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from autoprune.criteria import Moments
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = ""


def prepare(task: Task | None, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    def repair(model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        thin(model, masks)

    return repair
