"""What was cut is replaced by its mean, for which the biases of its readers make up (FLAP, An et al. 2024); then
BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.criteria import Moments
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.reconstruct import Reconstruction
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = "activations"


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    means = Reconstruction(task.model, traced, moments, combine=False)

    def repair(cut: CutModel) -> None:
        means.repair(cut.model, cut.slices)
        thin(cut.model, cut.masks)
        recalibrate(cut.model, task)

    return repair
