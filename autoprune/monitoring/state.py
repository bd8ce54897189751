"""How a model is doing in production, at one moment. Knows records only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Held:
    """A limit on the latency, and the calls that it is about.

    Attributes:
        limit: As it is written.
        bound: In seconds.
        now: What is held against it, of the last calls with the batch that the budget is about; None before the first.
        kept: Whether that keeps it.
    """

    limit: str
    bound: float
    now: float | None
    kept: bool | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of the last calls, whatever their batch.

    Attributes:
        quantiles: In seconds, by "p50", "p90" and "p99"; none before the first call.
        limits: Those of the budget.
    """

    quantiles: Mapping[str, float]
    limits: tuple[Held, ...]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One thing that is watched for drift.

    Attributes:
        name: An argument of the model, or "answers".
        samples: That were looked at.
        windows: That ended.
        alarms: Windows that raised the alarm.
        drifting: Whether the last window did.
        evidence: The rate of false alarms a window at which this window would alarm.
        shifts: By how many standard deviations each number's mean in this window is higher than it was.
    """

    name: str
    samples: int
    windows: int
    alarms: int
    drifting: bool
    evidence: float
    shifts: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A share in production beside what it was when the model was made. samples: that it is of; now: None before the
    first."""

    now: float | None
    baseline: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class State:
    """What a monitor knows.

    Attributes:
        calls: Of the model.
        failures: Calls that raised.
        latency: Of the last calls.
        streams: What is watched for drift.
        confidence: Of answers, in this window; None where it does not classify.
        agreement: With the dense model; None without one.
        overhead: What looking took, as a share of the model's own time.
    """

    calls: int
    failures: int
    latency: Latency
    streams: tuple[Stream, ...] = field(default=())
    confidence: Compared | None = None
    agreement: Compared | None = None
    overhead: float = 0.0

    @property
    def drifting(self) -> tuple[str, ...]:
        """Names of what drifts."""
        return tuple(each.name for each in self.streams if each.drifting)

    @property
    def kept(self) -> bool:
        """Whether every limit on the latency is kept, as far as there were calls."""
        return all(each.kept is not False for each in self.latency.limits)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
