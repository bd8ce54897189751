"""What the product must satisfy: limits and objectives. Knows the grammar of limits; measures nothing.

A limit is `METRIC[.STATISTIC][@DEVICE] RELATION NUMBER[UNIT]`, for example `latency=5ms`, `latency.p99<=8ms`,
`latency=50%` (of the dense model), `latency@pi=20ms`, `params=1M`, `throughput>=200/s`, `accuracy>=0.97`,
`accuracy>=-1%` (at most a point below dense), `rmse<=105%` (of the dense model's, for a quality that is minimised).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from autoprune.core import quantity
from autoprune.core.metric import COSTS, LATENCY, RELATIVE, STATISTICS, WORST, MetricKey, cost
from autoprune.errors import UsageError

#: What a latency in seconds may be held against; the first unless somebody asks for the other.
GUARANTEES: Final = ("quiet", "worst")
Relation = Literal["<=", ">="]
#: How a limit's value is meant: in SI units, as a share of the dense value, or as a distance below it.
Basis = Literal["absolute", "share", "below"]

_FORM: Final = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*)(?:\.([A-Za-z0-9_]+))?(?:@([A-Za-z0-9_.-]+))?\s*(<=|>=|=)\s*(\S+)", re.ASCII
)
_EXAMPLES: Final = "write for example latency=5ms, latency=50%, params=1M or accuracy>=-1%"


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
        value: In SI units; with `of_dense`, a distance (<= 0) from the dense model's value.
        of_dense: Whether the value is such a distance.

    Example:
        >>> Budget.of(accuracy=AtLeast(-0.01, of_dense=True)).limits[0].meaning()
        "accuracy at most 1 points below the dense model's"
    """

    value: float
    of_dense: bool = False


@dataclass(frozen=True)
class Limit:
    """One checked limit on a cost or a quality.

    Attributes:
        metric: What is limited, such as "latency" or "latency@pi".
        relation: "<=" or ">=".
        value: In SI units, as a share, or as a distance, as `basis` says.
        basis: "absolute", "share" (of the dense model's value), or "below" (a distance from it).
        statistic: Of a latency, such as "p99"; empty for its median.

    Raises:
        UsageError: a limit that nothing can meet, or of the wrong direction.
    """

    metric: str
    relation: Relation
    value: float
    basis: Basis = "absolute"
    statistic: str = ""

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "value", float(self.value))  # NumPy's own are written as something else

    @property
    def key(self) -> str:
        """What a measurement must be called to be held against it."""
        return str(replace(MetricKey.parse(self.metric), statistic=self.statistic))

    @property
    def relative_key(self) -> str:
        """What the ratio to the dense model is called that was measured in pairs; only medians have one."""
        return "" if self.statistic else str(replace(MetricKey.parse(self.metric), statistic=RELATIVE.statistic))

    @property
    def is_cost(self) -> bool:
        """Whether it is on a cost, and not on a quality."""
        return cost(self.metric) is not None

    @property
    def unit(self) -> str:
        """The SI unit of its metric."""
        found = cost(self.metric)
        return "1" if found is None else found.unit

    def bound(self, dense: float) -> float:
        """The limit in SI units, given the dense model's value of the same key.

        Raises:
            UsageError: a share of a value below 0, which says the contrary of what it seems to.
        """
        if self.basis == "share":
            if dense < 0:
                raise UsageError(
                    expected=f"a dense model whose {self.key} is above 0, of which a share can be limited",
                    received=f"{dense:g}",
                    cure=f"give the limit as a number, such as {self.key}<={dense + abs(dense) / 20:g}",
                )
            return self.value * dense
        return dense + self.value if self.basis == "below" else self.value

    def excess(self, low: float, high: float, dense: float) -> float:
        """How far the worse end of the interval [low, high] breaks the limit, as a share of the bound; <= 0 is met."""
        bound = self.bound(dense)
        gap = high - bound if self.relation == "<=" else bound - low
        return gap / max(abs(bound), 1e-12)

    def met_by(self, value: float, dense: float) -> bool:
        """Whether a value alone, without its interval, keeps the limit."""
        return self.excess(value, value, dense) <= 0

    def __str__(self) -> str:
        """As it is written on the command line: short where that says the same, else with every digit."""
        short = self._text(lambda value: f"{value:g}", quantity.show(self.value, self.unit).replace(" ", ""))
        suffix = {"1": "", "1/s": "/s"}.get(self.unit, self.unit)
        try:
            return short if parse_limit(short) == self else self._text(repr, f"{self.value!r}{suffix}")
        except UsageError:
            return self._text(repr, f"{self.value!r}{suffix}")

    def _text(self, digits: Callable[[float], str], absolute: str) -> str:
        if self.basis == "share":
            return f"{self.key}<={digits(self.value * 100)}%"
        if self.basis == "below":
            return f"{self.key}>={digits(self.value * 100)}%"
        return f"{self.key}{self.relation}{absolute}"

    def meaning(self) -> str:
        """The limit in words, echoed to the user before any work is done."""
        key = MetricKey.parse(self.metric)
        name = f"{self.statistic or 'median'} {key.metric}" if self.unit == "s" else key.metric
        name = f"{key.metric} in the device's slow hours" if self.statistic == WORST else name
        name = f"{name} on {key.device}" if key.device else name
        if self.basis == "share":
            return f"{name} at most {self.value * 100:g} % of the dense model's"
        if self.basis == "below":
            return f"{name} at most {-self.value * 100:g} points below the dense model's"
        side = "at most" if self.relation == "<=" else "at least"
        return f"{name} {side} {quantity.show(self.value, self.unit)}"


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
            _check_place(name, name)
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

    def without(self, device: str) -> Budget:
        """The same, with the metrics of one device as those that name none."""

        def plain(metric: str) -> str:
            key = MetricKey.parse(metric)
            return str(key.here) if key.device == device and key.cost is not None else metric

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


def parse_limit(text: str) -> Limit:
    """One limit from its written form; see the module's first lines.

    Raises:
        UsageError: with a suggestion where one is near.
    """
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise UsageError(expected="METRIC=VALUE", received=repr(text), cure=_EXAMPLES)
    base, statistic, device, sign, amount = (found or "" for found in match.groups())
    metric, number, suffix = str(MetricKey(base, device=device)), *quantity.split(amount)
    known = cost(metric)
    if known is None and (sign == "=" or suffix not in ("", "%")):
        raise _unknown_metric(metric, text)
    if sign == "=":
        sign = "<=" if known is not None and known.lower_is_better else ">="
    relation: Relation = "<=" if sign == "<=" else ">="
    if suffix == "%":
        basis: Basis = "share" if known is not None or relation == "<=" else "below"
        return Limit(metric, relation, number / 100, basis, statistic)
    factor = quantity.scale(suffix, known.unit, text) if known is not None else 1.0
    return Limit(metric, relation, number * factor, "absolute", statistic)


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
    relative: Basis = "share" if cost(metric) is not None or relation == "<=" else "below"
    return Limit(metric, relation, limit.value, relative if limit.of_dense else "absolute", statistic)


def _check(limit: Limit) -> None:
    known, key = cost(limit.metric), MetricKey.parse(limit.metric)
    if isinstance(limit.value, bool) or not isinstance(limit.value, int | float) or not math.isfinite(limit.value):
        raise UsageError(expected="a finite number", received=repr(limit.value), cure=_EXAMPLES)
    written = f"{limit.value:g}" if limit.basis == "absolute" else f"{limit.value * 100:g}%"
    text = f"{limit.key}{limit.relation}{written}"
    if limit.statistic and (key.here != LATENCY or limit.statistic not in STATISTICS):
        raise UsageError(
            expected=f"latency with one of the statistics {', '.join(STATISTICS)}",
            received=limit.key,
            cure="write for example latency.p99<=8ms",
        )
    if known is None:
        if limit.basis == "below" and not -1 < limit.value <= 0:
            raise UsageError(
                expected="points below the dense model's quality, between -100% and 0%",
                received=text,
                cure=f"write for example {limit.metric}>=-1% or, absolute and without %, {limit.metric}>=0.97",
            )
        if limit.basis == "share" and limit.value <= 0:
            cure = f"write for example {limit.metric}<=105%"
            raise UsageError(expected="a share of the dense model's quality above 0%", received=text, cure=cure)
        return
    _check_place(limit.metric, text)
    if (limit.relation == "<=") != known.lower_is_better:
        side = "<=" if known.lower_is_better else ">="
        raise UsageError(expected=f"{limit.metric}{side}VALUE", received=text, cure="turn the relation round")
    if limit.basis == "share" and not known.lower_is_better:
        raise UsageError(
            expected=f"an absolute {limit.metric}", received=text, cure="write for example throughput>=200/s"
        )
    if limit.value <= 0:
        raise UsageError(expected=f"a positive {limit.metric}", received=text, cure=_EXAMPLES)
    if limit.basis == "share" and limit.value > 1:
        raise UsageError(
            expected="at most 100% of the dense model's value", received=text, cure="give a share between 0% and 100%"
        )


def _check_place(metric: str, text: str) -> None:
    key = MetricKey.parse(metric)
    if key.device and key.counted:
        cure = f"write {key.metric}: it is the same on all"
        raise UsageError(expected=f"{key.metric} without a device", received=text, cure=cure)


def _unknown_metric(metric: str, text: str) -> UsageError:
    close = difflib.get_close_matches(MetricKey.parse(metric).metric, COSTS, n=1, cutoff=0.7)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return UsageError(
        expected="a known cost, or a quality of the task with <= or >= and a plain number",
        received=repr(text),
        cure=f"{hint}known costs: {', '.join(COSTS)}; qualities are written like accuracy>=0.97 or rmse<=0.2",
    )
