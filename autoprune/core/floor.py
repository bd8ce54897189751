"""Limits on qualities, held against what the task says of them: direction and range. Knows metrics; not scores.

Every cure is a limit that is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from autoprune.core.limit import Limit
from autoprune.core.metric import Metric
from autoprune.errors import UsageError


def check_quality(limit: Limit, quality: Metric) -> None:
    """Refuse a limit of the wrong direction, one that no score can meet, and one that every score meets.

    Args:
        limit: On that quality, as `Budget.read_for` has read it.
        quality: Of the task.

    Raises:
        UsageError: it is one of these, or it has points of a quality that does not end at 1.
    """
    right = "<=" if quality.lower_is_better else ">="
    side, text = f"{quality.name}{right}", str(limit)
    if limit.relation != right:
        raise UsageError(
            expected=f"{side}VALUE", received=text, cure=f"write for example {_relative(side, quality, 0.01)}"
        )
    if limit.basis == "points" and quality.high != 1.0:
        cure = f"write {_relative(side, quality, abs(limit.value))}"
        if math.isinf(quality.high):
            declared = f"Metric('{quality.name}', ..., high=1.0)"
            cure += f"; or, if it ends at 1, declare it so among the task's metrics: {declared}"
        raise UsageError(
            expected=f"a share or a distance for {quality.name}, as points are for qualities that end at 1",
            received=text,
            cure=cure,
        )
    spread = quality.high - quality.low
    if limit.basis == "distance" and abs(limit.value) >= spread:
        raise UsageError(
            expected=f"a distance of less than {spread:g}, which is the range of {quality.name}",
            received=text,
            cure=f"write for example {_relative(side, quality, _part(abs(limit.value), spread))}",
        )
    if limit.basis == "absolute" and not quality.low <= limit.value <= quality.high:
        part = _part(abs(limit.value), spread)
        near = f"{side}{quality.low + part * spread:g}" if spread <= 1 else _relative(side, quality, 0.01)
        raise UsageError(
            expected=f"{quality.name} between {quality.low:g} and {quality.high:g}",
            received=text,
            cure=f"write for example {near}",
        )


def idle(limits: Iterable[Limit], qualities: Iterable[Metric], dense: Mapping[str, float]) -> Iterator[str]:
    """What is to be said of limits that every score keeps, as the dense model's own is so near to the end of the range.

    Args:
        limits: As they were checked.
        qualities: Of the task.
        dense: The dense model's scores, by name.
    """
    worst = {quality.name: quality.worst for quality in qualities}
    for limit in limits:
        if limit.metric in worst and limit.basis in ("distance", "points"):
            bound, end = limit.bound(dense[limit.key]), worst[limit.metric]
            if bound >= end if limit.relation == "<=" else bound <= end:
                yield f"{limit} limits nothing: the dense model has {dense[limit.key]:.4g}"


def _part(value: float, spread: float) -> float:
    """What may have been meant by a value beyond a range: so many hundredths of it."""
    part = value / 100
    return part if 0 < part < 1 and spread <= 1 else 0.01


def _relative(side: str, quality: Metric, part: float) -> str:
    """A limit on a quality that is worse than the dense model's by so much, 0 to 1."""
    sign = "+" if quality.lower_is_better else "-"
    if quality.high == 1.0:
        return f"{side}{sign}{part * 100:g}%"
    spread = quality.high - quality.low
    distance = f"{side}dense{sign}{part * spread if math.isfinite(spread) else 0.1:g}"
    if quality.low < 0:  # a share of a score below 0 says the contrary of what it seems to
        return distance
    share = f"{side}{(1 + part if quality.lower_is_better else 1 - part) * 100:g}%"
    return f"{share} or {distance}"
