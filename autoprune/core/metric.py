"""What can be limited or optimised. Knows names, SI units, directions and natures; not how anything is measured.

A measured cost may be of one device among several: `latency@pi`, and a statistic of it `latency.p99@pi`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from autoprune.core.measurement import FORWARD

#: How a metric comes about: scored by the task; counted from the model alone; timed while it runs; metered by a counter
#: of the machine; measured once in a process of its own.
Kind = Literal["quality", "counted", "timed", "metered", "isolated"]


@dataclass(frozen=True)
class Metric:
    """A number that describes a model.

    Attributes:
        name: What users call it.
        unit: "s", "B", "J", "kg", "1/s" or "1".
        lower_is_better: Its direction.
        low: The least legal value.
        high: The greatest legal value.
        kind: How it comes about.
        forecast_like: The metric whose forecast it follows closely enough to steer by; empty: its own.
        work: What of a model is run for it, as `RunSpec.work` has it.
        measured_as: What a device calls it that does nothing but that work; empty: the same.
    """

    name: str
    unit: str
    lower_is_better: bool
    low: float = 0.0
    high: float = float("inf")
    kind: Kind = "quality"
    forecast_like: str = ""
    work: str = FORWARD
    measured_as: str = ""

    @property
    def worst(self) -> float:
        """The end of its range that nobody wants; infinite where there is none."""
        return self.high if self.lower_is_better else self.low

    @property
    def runs(self) -> bool:
        """Whether the model must run on the device again and again for it."""
        return self.kind in ("timed", "metered")

    def range_to_json(self) -> dict[str, Any]:
        """Its direction and its range, as `front.json` has them of a quality; no end where there is none."""
        ends = {"low": self.low, "high": self.high}
        return {"lower_is_better": self.lower_is_better} | {k: v for k, v in ends.items() if math.isfinite(v)}

    @classmethod
    def quality_from_json(cls, name: str, data: Mapping[str, Any]) -> Metric:
        """A quality of which `range_to_json` told."""
        low, high = data.get("low", -math.inf), data.get("high", math.inf)
        return cls(name, "1", lower_is_better=bool(data["lower_is_better"]), low=low, high=high)


KV_CACHE: Final = "kv_cache"
NONZEROS: Final = "nonzeros"

#: Costs that every task shares; qualities are declared by the task.
COSTS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("latency", "s", lower_is_better=True, kind="timed"),
        Metric("throughput", "1/s", lower_is_better=False, kind="timed", forecast_like="latency"),
        Metric("prefill", "s", lower_is_better=True, kind="timed", work="prefill", measured_as="latency"),
        Metric("decode", "s", lower_is_better=True, kind="timed", work="decode", measured_as="latency"),
        Metric("tokens", "1/s", lower_is_better=False, kind="timed", work="decode", measured_as="throughput"),
        Metric("params", "1", lower_is_better=True, kind="counted"),
        Metric(NONZEROS, "1", lower_is_better=True, kind="counted"),
        Metric("flops", "1", lower_is_better=True, kind="counted"),
        Metric("size", "B", lower_is_better=True, kind="counted"),
        Metric(KV_CACHE, "B", lower_is_better=True, kind="counted"),
        Metric("memory", "B", lower_is_better=True, kind="isolated", forecast_like="size"),
        Metric("energy", "J", lower_is_better=True, kind="metered", forecast_like="latency"),
        Metric("carbon", "kg", lower_is_better=True, kind="metered", forecast_like="latency"),
        Metric("price", "1", lower_is_better=True, kind="metered", forecast_like="latency"),
    )
}

#: Costs that are counted from the model itself, without a device.
COUNTED: Final = tuple(name for name, metric in COSTS.items() if metric.kind == "counted")

#: Statistics of single runs, and the share of runs below; None: the mean.
QUANTILES: Final[dict[str, float | None]] = {"mean": None, "p50": 0.5, "p90": 0.9, "p99": 0.99}

#: The statistic that says how long a model takes in the device's slow hours.
WORST: Final = "worst"

_RELATIVE: Final = "relative"

#: By work and by what a device calls it, how a cost of other work than a forward pass is called.
_OF_WORK: Final = {(each.work, each.measured_as): each.name for each in COSTS.values() if each.measured_as}

#: Which statistics of a latency may be limited, `latency.p99<=8ms`.
STATISTICS: Final = (*QUANTILES, WORST)


@dataclass(frozen=True)
class MetricKey:
    """What a measurement is of. It is written `metric.statistic@device`, and is text in files and tables alone.

    Attributes:
        metric: Its name, such as "latency".
        statistic: Of it, such as "p99"; empty for the metric itself.
        device: By the name that it was given; empty where none is named.

    Example:
        >>> MetricKey.parse("latency.p99@pi")
        MetricKey(metric='latency', statistic='p99', device='pi')
        >>> str(MetricKey("latency", device="pi"))
        'latency@pi'
    """

    metric: str
    statistic: str = ""
    device: str = ""

    @classmethod
    def parse(cls, text: str) -> MetricKey:
        """The key that a text writes."""
        base, _, device = text.partition("@")
        metric, _, statistic = base.partition(".")
        if metric in COSTS and statistic in (*STATISTICS, _RELATIVE, ""):
            return cls(metric, statistic, device)
        return cls(base, "", device)  # a quality, whose name is the task's own

    def __str__(self) -> str:
        base = f"{self.metric}.{self.statistic}" if self.statistic else self.metric
        return f"{base}@{self.device}" if self.device else base

    @property
    def cost(self) -> Metric | None:
        """The cost that it is of; None for a quality."""
        return COSTS.get(self.metric)

    @property
    def counted(self) -> bool:
        """Whether it is the same on every device."""
        return self.cost is not None and self.cost.kind == "counted"

    @property
    def here(self) -> MetricKey:
        """The same, as the device itself says it: the `decode` of a device is the latency of one that only decodes."""
        return replace(self, metric=(self.cost and self.cost.measured_as) or self.metric, device="")

    @property
    def source(self) -> Source:
        """Where a measurement of it is from."""
        return Source(self.device, FORWARD if self.cost is None else self.cost.work)

    @property
    def relative(self) -> MetricKey:
        """A candidate's share of the dense model's, where that is measured in pairs."""
        return replace(self, statistic=_RELATIVE)

    @property
    def plain(self) -> MetricKey:
        """The metric, without its statistic."""
        return replace(self, statistic="")


@dataclass(frozen=True)
class Source:
    """Where measurements are from.

    Attributes:
        device: By the name that it was given; empty where none is named.
        work: What of each model it runs.
    """

    device: str = ""
    work: str = FORWARD

    def __str__(self) -> str:
        work = "" if self.work == FORWARD else self.work
        return f"{work}@{self.device}" if work and self.device else work or self.device

    def named(self, key: MetricKey) -> MetricKey | None:
        """What the device itself says, as it is called among others; None for what has no name of this work."""
        metric = key.metric if self.work == FORWARD else _OF_WORK.get((self.work, key.metric))
        return None if metric is None else replace(key, metric=metric, device=self.device)


LATENCY: Final = MetricKey("latency")
#: A candidate's share of the dense model's latency, which pairs tell better than either of the two.
RELATIVE: Final = MetricKey("latency", _RELATIVE)
SLOW_HOURS: Final = MetricKey("latency", WORST)


def cost(name: str) -> Metric | None:
    """The cost of a name, which may say of which device; None for a quality."""
    key = MetricKey.parse(name)
    found = key.cost
    return replace(found, name=name) if found is not None and key.device else found


def costs(objectives: Iterable[Metric]) -> list[Metric]:
    """Those that are costs, in order."""
    return [metric for metric in objectives if cost(metric.name) is not None]
