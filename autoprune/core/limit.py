"""One limit: its grammar, what it means, and what of it is refused. Knows metrics and units; measures nothing.

A limit is `METRIC[.STATISTIC][@DEVICE] RELATION NUMBER[UNIT]`, for example `latency=5ms`, `latency.p99<=8ms`,
`latency=50%` (of the dense model), `latency@pi=20ms`, `params=1M`, `throughput>=200/s`, `accuracy>=0.97`.

A quality may be limited by a share of the dense model's (`psnr>=99%`, `rmse<=105%`), by a distance from it in its own
unit (`bleu>=-0.5`, `loss<=+0.1`; always `bleu>=dense-0.5`), or, where it ends at 1, in points (`accuracy>=-1%`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from autoprune.core import quantity
from autoprune.core.metric import COSTS, LATENCY, STATISTICS, WORST, MetricKey, cost
from autoprune.errors import UsageError
from autoprune.registry import suggestion

Relation = Literal["<=", ">="]
#: How a limit's value is meant: in SI units, as a share of the dense value, or as a distance from it, in the metric's
#: own unit or in hundredths of a metric that ends at 1.
Basis = Literal["absolute", "share", "distance", "points"]
#: Who writes less forgot a minus sign: no such share is a floor.
_LEAST_SHARE: Final = 0.5
_DENSE: Final = "dense"
#: Of a cure, where a task says which way is better.
_MORE: Final = " where more is better"
_LESS: Final = " where less is better"

_FORM: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)(?:@([A-Za-z0-9_.-]+))?\s*(<=|>=|=)\s*(\S+)", re.ASCII)
_EXAMPLES: Final = "write for example latency=5ms, latency=50%, params=1M or accuracy>=-1%"


@dataclass(frozen=True)
class Limit:
    """One checked limit on a cost or a quality.

    Attributes:
        metric: What is limited, such as "latency" or "latency@pi".
        relation: "<=" or ">=".
        value: In SI units, as a share, or as a distance, as `basis` says.
        basis: "absolute", "share" (of the dense model's value), "distance" (from it, in the metric's own unit; below 0
            where it is maximised), or "points" (the same, written in hundredths).
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
        return "" if self.statistic else str(MetricKey.parse(self.metric).relative)

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
                    cure=f"give the limit as a number, such as {self.key}{self.relation}{self._near(dense):g}",
                )
            return self.value * dense
        return self.value if self.basis == "absolute" else dense + self.value

    def _near(self, dense: float) -> float:
        """A little worse than the dense model."""
        return dense + (abs(dense) / 20 if self.relation == "<=" else -abs(dense) / 20)

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
        side = f"{self.key}{self.relation}"
        if self.basis == "share":
            return f"{side}{digits(self.value * 100)}%"
        if self.basis == "absolute":
            return f"{side}{absolute}"
        sign = "-" if math.copysign(1, self.value) < 0 else "+"
        if self.basis == "points":
            return f"{side}{sign}{digits(abs(self.value) * 100)}%"
        return f"{side}{_DENSE}{sign}{digits(abs(self.value))}"

    def meaning(self) -> str:
        """The limit in words, echoed to the user before any work is done."""
        key = MetricKey.parse(self.metric)
        name = f"{self.statistic or 'median'} {key.metric}" if self.unit == "s" else key.metric
        name = f"{key.metric} in the device's slow hours" if self.statistic == WORST else name
        name = f"{name} on {key.device}" if key.device else name
        side = "at most" if self.relation == "<=" else "at least"
        if self.basis == "share":
            return f"{name} {side} {self.value * 100:g} % of the dense model's"
        if self.basis == "absolute":
            return f"{name} {side} {quantity.show(self.value, self.unit)}"
        far = f"{abs(self.value) * 100:g} points" if self.basis == "points" else f"{abs(self.value):g}"
        return f"{name} at most {far} {'above' if self.relation == '<=' else 'below'} the dense model's"


def parse_limit(text: str) -> Limit:
    """One limit from its written form; see the module's first lines.

    Raises:
        UsageError: with a suggestion where one is near.
    """
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise UsageError(
            expected="METRIC=VALUE, METRIC<=VALUE or METRIC>=VALUE",
            received=repr(text),
            cure=f"{_EXAMPLES}; in a shell, in quotes where there is a < or >",
        )
    if "," in text:
        raise UsageError(
            expected="one limit, with a point for decimals",
            received=repr(text),
            cure="give each limit by itself: --budget latency=5ms --budget 'accuracy>=-1%'",
        )
    name, device, sign, amount = (found or "" for found in match.groups())
    base, _, statistic = name.partition(".") if name.partition(".")[0] in COSTS else (name, "", "")
    metric = str(MetricKey(base, device=device))
    known = cost(metric)
    of_dense = known is None and amount.startswith((f"{_DENSE}-", f"{_DENSE}+"))
    amount = amount.removeprefix(_DENSE) if of_dense else amount
    number, suffix = quantity.split(amount)
    if known is None and (sign == "=" or suffix not in ("", "%")):
        raise _unknown_metric(metric, text, f"{number:g}")
    if sign == "=":
        sign = "<=" if known is not None and known.lower_is_better else ">="
    relation: Relation = "<=" if sign == "<=" else ">="
    signed = known is None and amount[0] in "+-"
    if suffix == "%":
        return Limit(metric, relation, number / 100, "points" if signed else "share", statistic)
    if of_dense or (signed and amount[0] == "+"):  # a minus sign may also be the number's own: `Budget.read_for`
        return Limit(metric, relation, number, "distance", statistic)
    factor = quantity.scale(suffix, known.unit, text) if known is not None else 1.0
    return Limit(metric, relation, number * factor, "absolute", statistic)


def _check(limit: Limit) -> None:
    known, key = cost(limit.metric), MetricKey.parse(limit.metric)
    if isinstance(limit.value, bool) or not isinstance(limit.value, int | float) or not math.isfinite(limit.value):
        raise UsageError(expected="a finite number", received=repr(limit.value), cure=_EXAMPLES)
    text = limit._text(lambda value: f"{value:g}", f"{limit.value:g}")
    if limit.statistic and (key.here != LATENCY or limit.statistic not in STATISTICS):
        raise UsageError(
            expected=f"latency with one of the statistics {', '.join(STATISTICS)}",
            received=limit.key,
            cure="write for example latency.p99<=8ms",
        )
    if known is None:
        _check_relative(limit, text)
        return
    check_place(limit.metric, text)
    if (limit.relation == "<=") != known.lower_is_better:
        side = "<=" if known.lower_is_better else ">="
        raise UsageError(expected=f"{limit.metric}{side}VALUE", received=text, cure="turn the relation round")
    if limit.basis == "share" and not known.lower_is_better:
        raise UsageError(
            expected=f"an absolute {limit.metric}", received=text, cure=f"write for example {limit.metric}>=200/s"
        )
    if limit.value <= 0:
        raise UsageError(expected=f"a positive {limit.metric}", received=text, cure=_EXAMPLES)
    if limit.basis == "absolute" and limit.value < 1 and key.counted:
        raise UsageError(
            expected=f"{limit.metric} of at least 1",
            received=text,
            cure=f"write {limit.metric}={limit.value * 100:g}% for that share of the dense model's",
        )
    if limit.basis == "share" and limit.value > 1:
        raise UsageError(
            expected="at most 100% of the dense model's value", received=text, cure="give a share between 0% and 100%"
        )


def _check_relative(limit: Limit, text: str) -> None:
    """Refuse a share or a distance that is no worse than the dense model, or worse than anything."""
    side, lower = f"{limit.metric}{limit.relation}", limit.relation == "<="
    if limit.basis == "share" and limit.value < (_LEAST_SHARE if not lower else math.ulp(0.0)):
        meant = 1 - limit.value if 0 < limit.value < _LEAST_SHARE else 0.99
        raise UsageError(
            expected="a share of the dense model's quality " + ("above 0%" if lower else f"from {_LEAST_SHARE:.0%}"),
            received=text,
            cure=f"write for example {side}105%" if lower else f"write for example {side}{meant * 100:g}%",
        )
    worse = limit.value >= 0 if lower else limit.value <= 0
    if limit.basis == "points" and not (worse and abs(limit.value) < 1):
        raise UsageError(
            expected=f"points {'above' if lower else 'below'} the dense model's quality, fewer than 100",
            received=text,
            cure=f"write for example {limit.metric}>=99%{_MORE}, {limit.metric}<=105%{_LESS}",
        )
    if limit.basis == "distance" and not worse:
        far = f"{abs(limit.value):g}"
        itself = "" if lower else f"; {side}{far} for the number itself"
        raise UsageError(
            expected=f"a distance {'above' if lower else 'below'} the dense model's quality",
            received=text,
            cure=f"write {limit.metric}>=-{far}{_MORE}, {limit.metric}<=+{far}{_LESS}{itself}",
        )


def check_place(metric: str, text: str) -> None:
    """Refuse a counted cost of one device, as it is the same on all."""
    key = MetricKey.parse(metric)
    if key.device and key.counted:
        cure = f"write {key.metric}: it is the same on all"
        raise UsageError(expected=f"{key.metric} without a device", received=text, cure=cure)


def _unknown_metric(metric: str, text: str, number: str) -> UsageError:
    hint = suggestion(MetricKey.parse(metric).metric, COSTS, cutoff=0.7)  # `loss` is not meant as `flops`
    return UsageError(
        expected="a known cost, or a quality of the task with <= or >= and a plain number",
        received=repr(text),
        cure=f"{hint}known costs: {', '.join(COSTS)}; of a quality write {metric}>={number}{_MORE}, "
        f"{metric}<={number}{_LESS}",
    )
