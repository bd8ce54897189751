"""Who is finished: of a search's trials, those within the budget and those beyond, and their bins of like cost. Knows
budgets, objectives and how many; trains and measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autoprune.core.effort import Effort
from autoprune.core.front import Front, vector
from autoprune.core.judgement import judged
from autoprune.core.metric import Metric, costs
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.finishing.halving import bins as binned
from autoprune.finishing.pacing import contenders
from autoprune.finishing.selection import evenly, excess, telling
from autoprune.searching.candidate import Evaluator
from autoprune.searching.forecasting import proxy_metric_of

#: What is within the budget by less than this share of it lies at its edge.
_EDGE: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Chooses among trials.

    Attributes:
        evaluator: With the whole budget, qualities too.
        objectives: What is traded off.
        effort: How many are finished, and for how many epochs they are trained.
        reporter: Told by what they are chosen.
    """

    evaluator: Evaluator
    objectives: Sequence[Metric]
    effort: Effort
    reporter: Reporter

    def finalists(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that are finished where none is trained."""
        within, beyond = self.sides(trials)
        return [*self.spread(within, self.objectives, self.effort.finalists - len(beyond)), *beyond]

    def sides(self, trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
        """What is within the budget, and of the front beyond it a third of what is finished; all, if nothing is within.

        Those beyond show what a larger budget would buy. The dense model is a trial too, but no result beyond a budget.
        """
        count = self.effort.finalists
        within = [trial for trial in trials if trial.feasible]
        front = Front.of(trials, self.objectives).trials
        outside = [trial for trial in front if not trial.feasible and not self.evaluator.whole(trial.plan)]
        # The nearest to the budget first: where nothing is within, it is what was possible.
        return within, evenly(outside, self.objectives, count // 3 if within else count, excess)

    def spread(self, within: Sequence[Trial], objectives: Sequence[Metric], count: int) -> list[Trial]:
        """Evenly over the front; what would be the best is among them, or with a floor under a quality the best of what
        is above it before training. A third are the best at the edge of the budget: quality is there as a rule, and not
        all of them turn out to be within it."""
        score = vector(objectives)
        edge = sorted((trial for trial in within if -_EDGE <= excess(trial)[0] <= 0), key=score)[: count // 3]

        def wanted(trial: Trial) -> tuple[float, ...]:
            whole = judged(trial, self.evaluator.budget, self.evaluator.dense)
            return max(*excess(whole), 0.0), *score(trial)

        chosen = evenly(within, objectives, count - len(edge), wanted)
        known = {trial.number for trial in chosen}
        more = [trial for trial in edge if trial.number not in known]
        rest = [trial for trial in evenly(within, objectives, count, wanted) if trial not in (*chosen, *more)]
        return [*chosen, *more, *rest][:count]

    def bins(self, trials: Sequence[Trial]) -> dict[int, int]:
        """Candidates for fine-tuning and their bins of similar cost, from each of which the best is finished."""
        within, beyond = self.sides(trials)
        count = self.effort.finalists - len(beyond)
        by = next(iter(costs(self.objectives)), self.objectives[0])
        chosen_by = telling(within, self.objectives, self.evaluator.task.metrics)
        if chosen_by != tuple(self.objectives):
            quality, proxy_metric = self.evaluator.task.quality.name, proxy_metric_of(self.evaluator.task.metrics)
            self.reporter.note(f"{quality} does not tell candidates apart; contenders are chosen by {proxy_metric}")
        begun = self.spread(within, chosen_by, contenders(self.effort.epochs) * count)
        ordered = sorted(begun, key=lambda trial: (trial.value(by.name), trial.number))
        groups = [*binned(ordered, count), *([trial] for trial in beyond)]
        return {trial.number: place for place, group in enumerate(groups) for trial in group}
