"""Costs that follow from measured ones by a rate that a user gives: grams of carbon a kilowatt hour, money an hour.

A rate is `METRIC=NUMBER/kWh` or `METRIC=NUMBER/h`, for example `carbon=350g/kWh`, `price=0.12/h`, `price=0.30/kWh`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from autoprune.core import quantity
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS
from autoprune.errors import UsageError

#: What a rate may be of: the metric that it is taken of, and how much of that, in SI units, it is of.
_OF: Final = {"kWh": ("energy", 3.6e6), "h": ("latency", 3600.0)}
_RATED: Final = {"carbon": ("kWh",), "price": ("kWh", "h")}
_EXAMPLES: Final = "write for example carbon=350g/kWh, price=0.12/h or price=0.30/kWh"


@dataclass(frozen=True)
class Rate:
    """metric: what follows; base: from which metric; factor: by how much, in SI units."""

    metric: str
    base: str
    factor: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From its written form; see the module's first lines.

        Raises:
            UsageError: no such metric, a number that is not above 0, or a unit that does not go with it.
        """
        metric, _, amount = text.partition("=")
        number, slash, per = amount.rpartition("/")
        if not slash or per not in _RATED.get(metric, ()):
            listed = ", ".join(f"{name} per {' or '.join(units)}" for name, units in _RATED.items())
            raise UsageError(expected=f"a rate: {listed}", received=repr(text), cure=_EXAMPLES)
        value, suffix = quantity.split(number)
        base, amount_of = _OF[per]
        factor = value * quantity.scale(suffix, COSTS[metric].unit, text) / amount_of
        if factor <= 0:
            raise UsageError(expected="a rate above 0", received=repr(text), cure=_EXAMPLES)
        return cls(metric, base, factor)


def parse_rates(texts: Iterable[str]) -> tuple[Rate, ...]:
    """Rates of different metrics.

    Raises:
        UsageError: one that is none, or two of one metric.
    """
    found = tuple(map(Rate.parse, texts))
    names = [rate.metric for rate in found]
    if len(set(names)) < len(names):
        raise UsageError(expected="one rate a metric", received=", ".join(names), cure="leave one out")
    return found


def rated(measured: Mapping[str, Measurement], rates: Iterable[Rate]) -> dict[str, Measurement]:
    """What follows from measurements of one device, by key."""
    found = {}
    for rate in rates:
        if (of := measured.get(rate.base)) is not None:
            value, low, high = (rate.factor * each for each in (of.value, of.low, of.high))
            unit = COSTS[rate.metric].unit
            found[rate.metric] = replace(of, metric=rate.metric, unit=unit, value=value, low=low, high=high)
    return found


def is_rated(metric: str) -> bool:
    """Whether a metric is known by a rate alone."""
    return metric in _RATED
