"""One candidate and what became of it. Knows records only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.errors import StorageError, UsageError, describe


class TrialState(StrEnum):
    """SCREENED: dismissed on its forecast, never evaluated; `error` says why."""

    COMPLETE = "complete"
    FAILED = "failed"
    SCREENED = "screened"


@dataclass(frozen=True)
class Timing:
    """Seconds of wall time that a candidate took: cutting it, repairing and scoring it, and measuring it."""

    cut: float = 0.0
    evaluate: float = 0.0
    measure: float = 0.0

    @property
    def total(self) -> float:
        return self.cut + self.evaluate + self.measure


@dataclass(frozen=True)
class Trial:
    """A finished candidate: its measurements by key, how far it breaks each limit (<= 0: met), or why it failed.

    proposer: who asked for it; empty where nobody said.
    """

    number: int
    plan: Plan
    state: TrialState
    measurements: Mapping[str, Measurement] = field(default_factory=lambda: MappingProxyType({}))
    excesses: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    timing: Timing = Timing()
    error: str = ""
    proposer: str = ""

    @property
    def feasible(self) -> bool:
        """Complete, and every limit is met by the worse end of its interval."""
        return self.state is TrialState.COMPLETE and all(excess <= 0 for excess in self.excesses.values())

    def value(self, key: str) -> float:
        return self.measurements[key].value

    def to_json(self, stage: str) -> dict[str, Any]:
        """`stage` says which measurements these are: of the "search", or of the "final" model."""
        return {
            "stage": stage,
            "trial": self.number,
            "state": str(self.state),
            "feasible": self.feasible,
            "plan": self.plan.kept,
            **self.plan.beside,
            "metrics": {key: measured.to_json() for key, measured in self.measurements.items()},
            "excesses": dict(self.excesses),
            "seconds": {"cut": self.timing.cut, "evaluate": self.timing.evaluate, "measure": self.timing.measure},
            "error": self.error or None,
            **({"proposer": self.proposer} if self.proposer else {}),
        }

    @classmethod
    def from_json(cls, data: Any) -> Trial:
        """The inverse of `to_json`, less the stage.

        Raises:
            StorageError: something is missing, or is not what it should be.
        """
        try:
            return cls(
                int(data["trial"]),
                Plan.from_json(data["plan"], data.get("precision", "")),
                TrialState(data["state"]),
                {key: Measurement.from_json(key, raw) for key, raw in data["metrics"].items()},
                {key: float(excess) for key, excess in data["excesses"].items()},
                Timing(**data["seconds"]),
                data["error"] or "",
                str(data.get("proposer", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise StorageError(
                expected="a trial's record",
                received=describe(error),
                cure="restore the file from a copy, or use the version of autoprune that wrote it",
            ) from error
