"""What the product must satisfy: limits and objectives. Knows how they go together; `limit` has their grammar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from autoprune.core.limit import Basis, Limit, Relation, check_place, parse_limit
from autoprune.core.metric import LATENCY, WORST, Metric, MetricKey, cost
from autoprune.errors import UsageError

#: What a latency in seconds may be held against; the first unless somebody asks for the other.
GUARANTEES: Final = ("quiet", "worst")


@dataclass(frozen=True)
class AtMost:
    """An upper limit.

    Attributes:
        value: In SI units; with `of_dense`, a share of the dense model's: of a cost in (0, 1], of a quality that is
            minimised any above 0, such as 1.05.
        of_dense: Whether the value is a share of the dense model's.

    Example:
        >>> Budget.of(latency=AtMost(0.005), params=AtMost(0.5, of_dense=True))  # doctest: +ELLIPSIS
        Budget(...)
    """

    value: float
    of_dense: bool = False


@dataclass(frozen=True)
class AtLeast:
    """A lower limit.

    Attributes:
        value: In SI units; with `of_dense`, a share of the dense model's value (above 0, such as 0.99), or a distance
            from it (0 or below, in the metric's own unit).
        of_dense: Whether the value is such a share or distance.

    Example:
        >>> Budget.of(accuracy=AtLeast(-0.01, of_dense=True)).limits[0].meaning()
        "accuracy at most 0.01 below the dense model's"
    """

    value: float
    of_dense: bool = False


@dataclass(frozen=True)
class Budget:
    """Limits that a result must meet, and metrics to trade off.

    Attributes:
        limits: At most one of each key.
        objectives: Names of metrics, the most wanted first; empty: the task's quality and every limited cost.

    Raises:
        UsageError: two limits of one key, or an objective twice.

    Example:
        >>> budget = Budget.parse("latency=5ms", "accuracy>=-1%")
        >>> [limit.key for limit in budget.limits]
        ['latency', 'accuracy']
    """

    limits: tuple[Limit, ...]
    objectives: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        keys = [limit.key for limit in self.limits]
        for key in keys:
            if keys.count(key) > 1:
                both = " and ".join(str(limit) for limit in self.limits if limit.key == key)
                raise UsageError(expected=f"one limit on {key}", received=both, cure="keep the one that you mean")
        for name in self.objectives:
            check_place(name, name)
        if len(set(self.objectives)) != len(self.objectives):
            raise UsageError(
                expected="each objective once", received=", ".join(self.objectives), cure="drop the repeated one"
            )

    @classmethod
    def parse(cls, *limits: str, objectives: Iterable[str] = ()) -> Budget:
        """Read limits as they are written on the command line.

        Raises:
            UsageError: a limit is malformed, impossible, of the wrong direction, or given twice.
        """
        return cls(tuple(parse_limit(text) for text in limits), tuple(objectives))

    @classmethod
    def of(cls, *, objectives: Iterable[str] = (), **limits: AtMost | AtLeast) -> Budget:
        """The same from objects: `Budget.of(latency=AtMost(0.005), accuracy=AtLeast(-0.01, of_dense=True))`.

        A statistic follows two underscores, a device an at sign: `**{"latency__p99@pi": AtMost(0.008)}`.
        """
        return cls(tuple(_from_object(key, limit) for key, limit in limits.items()), tuple(objectives))

    def chosen(self, quality: str) -> tuple[str, ...]:
        """The objectives, with the defaults filled in; `quality` is the task's first metric."""
        limited = tuple(dict.fromkeys(limit.metric for limit in self.limits if limit.is_cost))
        return self.objectives or (quality, *(limited or ("latency",)))

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that limits and objectives name, once each."""
        return tuple(dict.fromkeys([*(limit.metric for limit in self.limits), *self.objectives]))

    def read_for(self, qualities: Iterable[Metric]) -> Budget:
        """The same, as it is meant of these qualities: what can never be below 0 is meant as a distance from the dense
        model's where it is limited by a number below 0, such as `bleu>=-0.5`.

        Raises:
            UsageError: the distance is no worse than the dense model.
        """
        never_below = {metric.name: "<=" if metric.lower_is_better else ">=" for metric in qualities if metric.low >= 0}

        def meant(limit: Limit) -> Limit:
            written = limit.basis == "absolute" and limit.value < 0
            mine = never_below.get(limit.metric) == limit.relation
            return replace(limit, basis="distance") if written and mine else limit

        return replace(self, limits=tuple(map(meant, self.limits)))

    def without(self, device: str) -> Budget:
        """The same, with the metrics of one device as those that name none."""

        def plain(metric: str) -> str:
            key = MetricKey.parse(metric)
            return str(replace(key, device="")) if key.device == device and key.cost is not None else metric

        limits = tuple(replace(limit, metric=plain(limit.metric)) for limit in self.limits)
        return Budget(limits, tuple(map(plain, self.objectives)))

    def guaranteed(self, guarantee: str) -> Budget:
        """The same, with what a latency in seconds is held against.

        Args:
            guarantee: "quiet", the device's quiet moments; or "worst", its slow hours, as `latency.worst` says for one
                limit alone.

        Raises:
            UsageError: another word.
        """
        if guarantee not in GUARANTEES:
            cure = f"known: {', '.join(GUARANTEES)}"
            raise UsageError(expected="what a latency is held against", received=repr(guarantee), cure=cure)
        if guarantee == GUARANTEES[0]:
            return self

        def held(limit: Limit) -> Limit:
            latency = MetricKey.parse(limit.metric).here == LATENCY
            plain = latency and limit.basis == "absolute" and not limit.statistic
            return replace(limit, statistic=WORST) if plain else limit

        return replace(self, limits=tuple(map(held, self.limits)))

    def excesses(self, intervals: Mapping[str, tuple[float, float]], dense: Mapping[str, float]) -> dict[str, float]:
        """`Limit.excess` by key, from intervals (low, high) and dense values by key."""
        return {limit.key: limit.excess(*intervals[limit.key], dense[limit.key]) for limit in self.limits}


def _from_object(key: str, limit: AtMost | AtLeast) -> Limit:
    base, _, device = key.partition("@")
    name, _, statistic = base.partition("__")
    metric = str(MetricKey(name, device=device))
    if not isinstance(limit, AtMost | AtLeast):
        raise UsageError(
            expected=f"AtMost or AtLeast for {key}",
            received=type(limit).__name__,
            cure="write for example AtMost(0.005)",
        )
    relation: Relation = "<=" if isinstance(limit, AtMost) else ">="
    relative: Basis = "share" if relation == "<=" or cost(metric) is not None or limit.value > 0 else "distance"
    return Limit(metric, relation, limit.value, relative if limit.of_dense else "absolute", statistic)
