"""What a search is after, as a sampler sees it. Knows objectives, the dense model's values and limits as numbers.

Objectives are compared in a box: 0 is the dense model's quality, or no cost at all; 1 is a quality of 20 points less,
or the dense model's cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autoprune.core.metric import Metric, cost

#: How far below the dense model's quality the box ends, as a share of the metric's range.
DEPTH: Final = 0.2


@dataclass(frozen=True)
class CostLimit:
    """A limited cost, and the most that it may be as a share of the dense model's (of throughput, the inverse)."""

    metric: Metric
    most: float


@dataclass(frozen=True)
class SearchGoal:
    """objectives: the most wanted first; dense: the dense model's values of them; limits: the most that each may be, in
    SI units, None where nothing limits it; proxy_metric: a metric of the task that tells better than its quality how a
    model was hurt, empty where the quality is all there is; proxy_value: the dense model's value of it; others: limited
    costs that are no objectives."""

    objectives: tuple[Metric, ...]
    dense: tuple[float, ...]
    limits: tuple[float | None, ...]
    proxy_metric: str = ""
    proxy_value: float = 0.0
    others: tuple[CostLimit, ...] = ()

    @property
    def quality(self) -> int | None:
        """The place of the first objective that is no cost; None where there is none."""
        return next((k for k, metric in enumerate(self.objectives) if cost(metric.name) is None), None)

    @property
    def cost(self) -> int | None:
        """The place of the cost that binds: of those among the objectives the one whose limit is furthest below the
        dense model's value, the first where none is limited; None where there is none."""
        places = [k for k, metric in enumerate(self.objectives) if cost(metric.name) is not None]
        return max(places, key=self._wanted, default=None)

    def _wanted(self, place: int) -> float:
        """By which factor the dense model must be cheaper; 0 where nothing limits it."""
        limit, dense = self.limits[place], self.dense[place]
        if limit is None or not dense:
            return 0.0
        return dense / limit if self.objectives[place].lower_is_better else limit / dense

    @property
    def cost_limits(self) -> tuple[CostLimit, ...]:
        """Every cost that is limited, be it an objective or not."""
        limited = zip(self.objectives, self.limits, self.dense, strict=True)
        own = [CostLimit(metric, share(metric, limit, dense)) for metric, limit, dense in limited if limit is not None]
        return (*own, *self.others)

    def scaled(self, values: Sequence[float]) -> tuple[float, ...]:
        """Values of the objectives as places in the box; the lower, the better."""
        return tuple(map(in_box, self.objectives, values, self.dense))


def share(metric: Metric, value: float, dense: float) -> float:
    """A cost as a share of the dense model's; of throughput, the inverse."""
    if metric.lower_is_better:
        return value / dense if dense else math.inf
    return dense / max(value, 1e-300)


def in_box(metric: Metric, value: float, dense: float) -> float:
    """Where a value lies in the box; the lower, the better."""
    if cost(metric.name) is not None:
        return share(metric, value, dense)
    spread = metric.high - metric.low
    depth = DEPTH * (spread if math.isfinite(spread) else abs(dense) or 1.0)
    return (value - dense if metric.lower_is_better else dense - value) / depth
