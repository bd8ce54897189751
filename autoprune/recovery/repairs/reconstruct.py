"""What was cut is written as the best combination of what is left, folded into the weights that read it; single weights
that are zero are made up for by those beside them; then BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.criteria import Moments
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.reconstruct import Reconstruction
from autoprune.recovery.refit import Refit
from autoprune.recovery.repairs import Repair
from autoprune.recovery.sorted_axes import SortedAxes
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = "activations"


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    axes = SortedAxes(task, traced, moments)
    task, moments = axes.task, axes.moments
    by_slices = Reconstruction(task.model, traced, moments)
    by_weights = Refit(traced, moments)

    def repair(cut: CutModel) -> None:
        cut, scales = axes.entered(cut)
        by_slices.repair(cut.model, cut.slices, scales)
        by_weights.repair(cut.model, cut.slices, cut.masks)
        thin(cut.model, cut.masks)
        recalibrate(cut.model, task)

    return repair
