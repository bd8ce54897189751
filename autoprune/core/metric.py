"""What can be limited or optimised. Knows names, SI units and directions; not how anything is measured.

A measured cost may be of one device among several: `latency@pi`, and a statistic of it `latency.p99@pi`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
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

    @property
    def worst(self) -> float:
        """The end of its range that nobody wants; infinite where there is none."""
        return self.high if self.lower_is_better else self.low


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

#: Statistics of single runs, and the share of runs below; None: the mean.
QUANTILES: Final[dict[str, float | None]] = {"mean": None, "p50": 0.5, "p90": 0.9, "p99": 0.99}

#: The statistic that says how long a model takes in the device's slow hours.
WORST: Final = "worst"

#: Which statistics of a latency may be limited, `latency.p99<=8ms`.
STATISTICS: Final = (*QUANTILES, WORST)


def cost(name: str) -> Metric | None:
    """The cost of a name, which may say of which device; None for a quality."""
    base, device = parted(name)
    found = COSTS.get(base)
    return replace(found, name=name) if found is not None and device else found


def costs(objectives: Iterable[Metric]) -> list[Metric]:
    """Those that are costs, in order."""
    return [metric for metric in objectives if cost(metric.name) is not None]


def parted(key: str) -> tuple[str, str]:
    """What a key of measurements says, and of which device that was named; `""` where none is named."""
    base, _, device = key.partition("@")
    return base, device


def at(key: str, device: str) -> str:
    """The inverse of `parted`."""
    return f"{key}@{device}" if device else key


def metric_of(key: str) -> str:
    """The metric of a key of measurements, without its statistic."""
    base, device = parted(key)
    return at(base.partition(".")[0], device)


def keyed(metric: str, statistic: str) -> str:
    """What a statistic of a metric is called among measurements; `""`: the metric itself."""
    base, device = parted(metric)
    return at(f"{base}.{statistic}", device) if statistic else metric
