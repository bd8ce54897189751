"""`sequential`, and then a few steps of descent towards the dense model's answers, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.criteria import Moments
from autoprune.recovery.distillation import Distillation
from autoprune.recovery.repairs import Repair, sequential
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.tasks.task import Task

NEEDS: Final = "activations"


def prepare(task: Task, traced: Traced, moments: Mapping[str, Moments]) -> Repair:
    descent, closed = Distillation(task), sequential.prepare(task, traced, moments)

    def repair(cut: CutModel) -> None:
        closed(cut)
        descent.repair(cut.model, cut.masks)

    return repair
