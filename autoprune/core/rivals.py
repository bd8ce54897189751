"""What a candidate has to beat. Knows what was evaluated so far; not how precisely anything is measured.

A measurement is worth its price where it decides something. A candidate that scores no better than a cheaper model is
beaten whatever its exact cost is, so that it is measured until it is known to be the costlier one, and no further.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import Measurement
from autoprune.core.metric import LATENCY, Metric, MetricKey
from autoprune.core.trial import Trial


@dataclass(frozen=True)
class Rivals:
    """Candidates within the budget that no other one of them beats.

    Attributes:
        quality: By which they are compared.
        key: The share of the dense model's latency, as measurements call it.
        known: Quality and that share, of each.
    """

    quality: Metric
    key: str
    known: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, trials: Iterable[Trial], goal: SearchGoal) -> Rivals | None:
        """None where being beaten in quality and latency does not settle a candidate's fate."""
        if goal.quality is None or goal.cost is None or len(goal.objectives) != 2:
            return None
        quality, cost = goal.objectives[goal.quality], goal.objectives[goal.cost]
        timed = MetricKey.parse(cost.name)
        if timed.here != LATENCY:
            return None
        found = cls(quality, str(timed.relative))
        for trial in trials:
            found = found.joined_by(trial)
        return found

    def joined_by(self, trial: Trial) -> Rivals:
        """These and one more, less those that it beats."""
        if not trial.feasible or self.key not in trial.measurements:
            return self
        new = trial.value(self.quality.name), trial.value(self.key)
        if any(self._beats(each, new) for each in self.known):
            return self
        return replace(self, known=(*(each for each in self.known if not self._beats(new, each)), new))

    def _beats(self, one: tuple[float, float], other: tuple[float, float]) -> bool:
        """Whether one is as good as another in both."""
        sign = 1 if self.quality.lower_is_better else -1
        return sign * one[0] <= sign * other[0] and one[1] <= other[1]

    def ceilings(self, scored: Mapping[str, Measurement]) -> dict[str, float]:
        """By key, the least cost at which a model as good as a candidate is known; empty where there is none.

        Args:
            scored: The candidate's scores by name.
        """
        sign = 1 if self.quality.lower_is_better else -1
        own = sign * scored[self.quality.name].value
        least = min((cost for quality, cost in self.known if sign * quality <= own), default=math.inf)
        return {self.key: least} if math.isfinite(least) else {}
