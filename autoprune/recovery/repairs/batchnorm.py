"""BatchNorm statistics anew, on the calibration split; models without such layers are left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from autoprune.criteria import Moments
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = ""


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    def repair(model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        thin(model, masks)
        recalibrate(model, task)

    return repair
