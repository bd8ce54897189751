"""What a candidate has to beat. Knows what was evaluated so far; not how precisely anything is measured.

A measurement is worth its price where it decides something. A candidate that scores no better than a cheaper model is
beaten whatever its exact cost is, so that it is measured until it is known to be the costlier one, and no further.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import Measurement
from autoprune.core.metric import LATENCY, RELATIVE, Metric, MetricKey
from autoprune.core.trial import Trial


@dataclass(frozen=True)
class Rivals:
    """Candidates within the budget.

    Attributes:
        quality: By which they are compared.
        key: The share of the dense model's latency, as measurements call it.
        known: Quality and that share, of each.
    """

    quality: Metric
    key: str
    known: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, trials: Iterable[Trial], goal: SearchGoal) -> Rivals | None:
        """None where being beaten in quality and latency does not settle a candidate's fate."""
        if goal.quality is None or goal.cost is None or len(goal.objectives) != 2:
            return None
        quality, cost = goal.objectives[goal.quality], goal.objectives[goal.cost]
        timed = MetricKey.parse(cost.name)
        if timed.here != LATENCY:
            return None
        key = str(RELATIVE.on(timed.device))
        within = [trial for trial in trials if trial.feasible and key in trial.measurements]
        return cls(quality, key, tuple((trial.value(quality.name), trial.value(key)) for trial in within))

    def ceilings(self, scored: Mapping[str, Measurement]) -> dict[str, float]:
        """By key, the least cost at which a model as good as a candidate is known; empty where there is none.

        Args:
            scored: The candidate's scores by name.
        """
        sign = 1 if self.quality.lower_is_better else -1
        own = sign * scored[self.quality.name].value
        least = min((cost for quality, cost in self.known if sign * quality <= own), default=math.inf)
        return {self.key: least} if math.isfinite(least) else {}
