"""Numbers that travel with what is needed to trust them. Knows records only; `autoprune.measure` makes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autoprune.errors import UsageError


@dataclass(frozen=True)
class Measurement:
    """A number with its unit, count, interval, origin and validity.

    value: the estimate in SI units; [low, high]: its 95 % interval; n: observations behind it; split: of the data,
    for a quality; valid: nothing disturbed it beyond what the interval says; converged: the interval is as narrow as
    was asked; note: why not, if not.
    """

    metric: str
    value: float
    unit: str
    low: float
    high: float
    n: int = 1
    valid: bool = True
    converged: bool = True
    device: str = ""
    profiler: str = ""
    split: str = ""
    note: str = ""

    @classmethod
    def exact(cls, metric: str, value: float, unit: str) -> Measurement:
        """A number without uncertainty, such as a count of parameters."""
        return cls(metric, value, unit, value, value)

    def to_json(self) -> dict[str, Any]:
        """Every field that says something: empty texts are left out."""
        return {key: value for key, value in asdict(self).items() if value != "" and key != "metric"}


@dataclass(frozen=True)
class Block:
    """Raw timings of consecutive runs, as a profiler returns them.

    wall_s, cpu_s: seconds of each run; involuntary_switches: how often the kernel took the processor away.
    """

    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    involuntary_switches: int = 0


@dataclass(frozen=True)
class RunSpec:
    """How a model is run while it is measured: processor threads and batch size (0: as the example inputs are)."""

    threads: int = 1
    batch: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("threads", self.threads, 1), ("batch", self.batch, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                cure = f"pass a whole number to {name}"
                raise UsageError(expected=f"{name} of at least {least}", received=repr(value), cure=cure)


@dataclass(frozen=True)
class Capabilities:
    """What a profiler can do.

    metrics: measured costs it provides; formats: artifacts it takes ("module": a torch module); exclusive: whether
    the device must be locked while it measures.
    """

    metrics: tuple[str, ...]
    formats: tuple[str, ...]
    exclusive: bool = True
