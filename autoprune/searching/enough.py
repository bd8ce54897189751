"""When a search has found what is good enough. Knows limits and trials; ends nothing but the proposals."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.core.budget import Budget
from autoprune.core.judgement import judged
from autoprune.core.limit import Limit
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.searching.candidate import Evaluator
from autoprune.searching.coordinator import Coordinator


class Enough:
    """Told of each trial; the first that cuts something, is within the budget and meets the limits ends the search."""

    def __init__(
        self,
        limits: Sequence[Limit],
        budget: Budget,
        evaluator: Evaluator,
        coordinator: Coordinator,
        reporter: Reporter,
    ) -> None:
        self._limits, self._budget, self._evaluator = tuple(limits), budget, evaluator
        self._coordinator, self._reporter, self._found = coordinator, reporter, False

    def told(self, trial: Trial) -> None:
        """One trial more."""
        if not self._limits or self._found or self._evaluator.whole(trial.plan):
            return
        dense = self._evaluator.dense
        if judged(trial, self._budget, dense).feasible and judged(trial, Budget(self._limits), dense).feasible:
            self._found = True
            self._coordinator.satisfy()
            met = " and ".join(limit.meaning() for limit in self._limits)
            self._reporter.note(f"trial {trial.number} is good enough ({met}): no more candidates are looked for")
