"""What can be limited or optimised. Knows names, SI units and directions; not how anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Metric:
    """A number that describes a model.

    unit: "s", "B", "J", "1/s" or "1"; lower_is_better: its direction; low, high: the closed range of legal values.
    """

    name: str
    unit: str
    lower_is_better: bool
    low: float = 0.0
    high: float = float("inf")


#: Costs that every task shares; qualities are declared by the task.
COSTS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("latency", "s", lower_is_better=True),
        Metric("throughput", "1/s", lower_is_better=False),
        Metric("params", "1", lower_is_better=True),
        Metric("flops", "1", lower_is_better=True),
        Metric("size", "B", lower_is_better=True),
        Metric("memory", "B", lower_is_better=True),
        Metric("energy", "J", lower_is_better=True),
    )
}

#: Costs that are counted from the model itself, without a device.
COUNTED: Final = ("params", "flops", "size")

#: Which statistics of a measured cost may be limited: `latency.p99<=8ms`.
STATISTICS: Final = ("mean", "p50", "p90", "p99")
