"""What a search returns. Knows where models lie and how to load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.core.reporter import Silent
from autoprune.models.rebuild import rebuild
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Point:
    """One finished model of the front: its plan, its measurements by key, and its folder."""

    trial: int
    feasible: bool
    plan: Plan
    measurements: Mapping[str, Measurement]
    folder: Path
    task: Task = field(repr=False)

    def load(self) -> nn.Module:
        """The pruned model with its weights, in eval mode."""
        return rebuild(self.folder, self.task, Silent())


@dataclass(frozen=True)
class Result:
    """run: the run directory; front: by ascending cost; best: None where nothing met the budget; document: front.json;
    overhead: share of the search's wall time that was neither evaluation nor measurement."""

    run: Path
    front: tuple[Point, ...]
    best: Point | None
    document: Mapping[str, Any]
    overhead: float
