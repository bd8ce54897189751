"""What has been seen of plans so far, as arrays. Knows levels and numbers; not where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoprune.core.goal import CostLimit, SearchGoal, in_box, share
from autoprune.core.metric import MetricKey
from autoprune.surrogate.knapsack import Levels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Observation:
    """One evaluated plan: its trial's number, the level of each variable, the objectives' values, the value of the
    goal's proxy metric (None where the task has none), the excess over each limit by its key (<= 0: met), seconds that
    it took, and who proposed it."""

    number: int
    levels: Levels
    values: tuple[float, ...]
    proxy_value: float | None
    excesses: Mapping[str, float]
    seconds: float = 0.0
    arm: str = ""

    @property
    def excess(self) -> float:
        """The worst of all; below 0 where nothing is limited."""
        return max(self.excesses.values(), default=-1.0)

    def excess_of(self, metric: str) -> float | None:
        """The worst over the limits on one metric and its statistics; None where there is none."""
        return max(
            (each for key, each in self.excesses.items() if str(MetricKey.parse(key).plain) == metric), default=None
        )


@dataclass(frozen=True)
class Observations:
    """seen: evaluated plans by number; taken: all that were ever proposed, those without a result among them."""

    goal: SearchGoal
    seen: tuple[Observation, ...]
    taken: frozenset[Levels] = frozenset()

    @cached_property
    def levels(self) -> Ints:
        """(N, variables)"""
        return np.array([each.levels for each in self.seen], np.int64)

    @cached_property
    def cost(self) -> Floats:
        """(N,) the cost among the objectives that binds, as a share of the dense model's."""
        return self._boxed(self.goal.cost)

    @cached_property
    def quality_drop(self) -> Floats:
        """(N,) the quality in the goal's box: 0 is as good as dense, 1 is 20 points less."""
        return self._boxed(self.goal.quality)

    @cached_property
    def loss_increase(self) -> Floats:
        """(N,) by how much the proxy metric is worse than the dense model's; the quality in its box where there is
        none."""
        return np.array([loss_increase(self.goal, each.values, each.proxy_value) for each in self.seen])

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """(N,) whether every limit was met."""
        return np.array([each.excess <= 0 for each in self.seen], bool)

    def worst(self, cost_limit: CostLimit) -> Floats:
        """(N,) the worse end of a limited cost's interval as a share of the dense model's, told by how far the limit
        was broken; nan where that is not known."""
        found = [each.excess_of(cost_limit.metric.name) for each in self.seen]
        excess = np.array([np.nan if each is None else each for each in found])
        factor = 1 + excess if cost_limit.metric.lower_is_better else 1 / np.maximum(1 - excess, 1e-12)
        worst: Floats = cost_limit.most * factor
        return worst

    def _boxed(self, place: int | None) -> Floats:
        if place is None:
            return np.zeros(len(self.seen))
        metric, dense = self.goal.objectives[place], self.goal.dense[place]
        values = [each.values[place] for each in self.seen]
        if place == self.goal.cost:
            return np.array([share(metric, value, dense) for value in values])
        return np.array([in_box(metric, value, dense) for value in values])


def loss_increase(goal: SearchGoal, values: Sequence[float], proxy_value: float | None) -> float:
    """By how much a model is worse than the dense one.

    Qualities without an end, such as perplexities, are multiplied by what each cut does: beyond the box their logarithm
    counts, which adds up.
    """
    if proxy_value is not None:
        return proxy_value - goal.proxy_value
    if (place := goal.quality) is None:
        return 0.0
    metric = goal.objectives[place]
    worse = in_box(metric, values[place], goal.dense[place])
    return worse if worse <= 1 or math.isfinite(metric.worst) else 1 + math.log(worse)
