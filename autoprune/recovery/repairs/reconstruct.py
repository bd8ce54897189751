"""What was cut is written as the best combination of what is left, folded into the weights that read it; single weights
that are zero are made up for by those beside them; then BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from autoprune.criteria import Moments
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.reconstruct import Reconstruction
from autoprune.recovery.refit import Refit
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = "activations"


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    slices_healed = Reconstruction(task.model, traced, moments)
    weights_healed = Refit(traced, moments)

    def repair(model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        slices_healed.repair(model, slices)
        weights_healed.repair(model, slices, masks)
        thin(model, masks)
        recalibrate(model, task)

    return repair
