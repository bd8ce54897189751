"""What each group costs and saves when it alone is cut. Knows numbers; not how they are found or shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.core.measurement import Measurement


@dataclass(frozen=True)
class Level:
    """One group, or all of one choice, cut alone.

    kept, size: slices of all that are cut together; measured: by key, on the search split and on the device, empty
    where it failed, for the reason in `error`.
    """

    group: str
    kind: str
    kept: int
    size: int
    measured: Mapping[str, Measurement]
    error: str = ""

    @property
    def share(self) -> float:
        return self.kept / self.size

    def to_json(self) -> dict[str, Any]:
        metrics = {key: found.to_json() for key, found in self.measured.items()}
        named = {"group": self.group, "kind": self.kind, "kept": self.kept, "size": self.size}
        return {**named, "metrics": metrics, "error": self.error}


@dataclass(frozen=True)
class Sensitivities:
    """quality: the name of the task's first metric; dense: the dense model's measurements by key; levels: group by
    group, from the largest level down."""

    task: str
    quality: str
    dense: Mapping[str, Measurement]
    levels: tuple[Level, ...]

    @property
    def loss(self) -> str:
        """What tells best how a model was hurt: the loss where the task has one, else its quality."""
        return "loss" if "loss" in self.dense else self.quality

    def to_json(self) -> dict[str, Any]:
        dense = {key: found.to_json() for key, found in self.dense.items()}
        return {"task": self.task, "dense": dense, "levels": [level.to_json() for level in self.levels]}
