"""Layer after layer: what `reconstruct` stitches together is fitted to the dense results on the inputs that each weight
really gets in the cut model, with BatchNorm in between. The default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.criteria import Moments
from autoprune.recovery.reconstruct import Reconstruction
from autoprune.recovery.refit import Refit
from autoprune.recovery.repairs import Repair
from autoprune.recovery.sequential import Sequential
from autoprune.recovery.sorted_axes import SortedAxes
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = "activations"


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    axes = SortedAxes(task, traced, moments)
    task, moments = axes.task, axes.moments
    by_slices, by_weights = Reconstruction(task.model, traced, moments), Refit(traced, moments)
    sequential = Sequential(task, traced)

    def repair(cut: CutModel) -> None:
        cut, scales = axes.entered(cut)
        by_slices.repair(cut.model, cut.slices, scales)
        by_weights.repair(cut.model, cut.slices, cut.masks)
        thin(cut.model, cut.masks)
        sequential.repair(cut.model, cut.slices, cut.masks, scales)

    return repair
