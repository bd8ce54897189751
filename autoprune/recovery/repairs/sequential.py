"""Layer after layer: what `reconstruct` stitches together is fitted to the dense results on the inputs that each weight
really gets in the cut model, with BatchNorm in between. The default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from autoprune.criteria import Moments
from autoprune.recovery.reconstruct import Reconstruction
from autoprune.recovery.refit import Refit
from autoprune.recovery.repairs import Repair
from autoprune.recovery.sequential import Sequential
from autoprune.surgery import Traced
from autoprune.surgery.sparsity import thin
from autoprune.tasks.task import Task

NEEDS: Final = "activations"


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    slices_healed, weights_healed = Reconstruction(task.model, traced, moments), Refit(traced, moments)
    sequential = Sequential(task, traced)

    def repair(model: nn.Module, slices: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        slices_healed.repair(model, slices)
        weights_healed.repair(model, slices, masks)
        thin(model, masks)
        sequential.repair(model, slices, masks)

    return repair
