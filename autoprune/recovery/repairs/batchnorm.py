"""BatchNorm statistics anew, on the calibration split; models without such layers are left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.criteria import Moments
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = ""


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    def repair(cut: CutModel) -> None:
        thin(cut.model, cut.masks)
        recalibrate(cut.model, task)

    return repair
