"""Asking and telling. Knows the study, the first plans, repeats and when to stop; not how a plan is evaluated."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState as OptunaState

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.core.clock import Clock
from autoprune.core.effort import Effort
from autoprune.core.metric import COSTS, Metric
from autoprune.core.plan import Plan
from autoprune.core.space import SearchSpace
from autoprune.core.trial import Proposal, Trial, TrialState
from autoprune.errors import BudgetInfeasibleError, TaskError
from autoprune.samplers import distributions

UNIFORM: Final = (0.75, 0.5, 0.375, 0.25)
#: So many plans in a row that are known already: the sampler has nothing new to say.
_REPEATS: Final = 100
_HOPELESS: Final = 6


class Coordinator:
    """One study. Dense, smallest and uniform plans come first; plans that come again are answered from memory."""

    def __init__(
        self,
        space: SearchSpace,
        budget: Budget,
        objectives: Sequence[Metric],
        sampler: BaseSampler,
        storage: BaseStorage,
        effort: Effort,
        clock: Clock,
    ) -> None:
        self._space, self._budget, self._objectives = space, budget, tuple(objectives)
        self._effort, self._clock = effort, clock
        self._distributions: dict[str, Any] = dict(distributions(space))
        with _quiet():
            self._study = optuna.create_study(
                study_name="autoprune",
                storage=storage,
                sampler=sampler,
                directions=["minimize" if metric.lower_is_better else "maximize" for metric in objectives],
            )
        self._open: dict[int, optuna.Trial] = {}
        self._known: dict[Plan, Trial] = {}
        first = [space.dense(), space.smallest(), *(space.uniform(ratio) for ratio in UNIFORM)]
        for plan in dict.fromkeys(first):
            self._study.enqueue_trial(space.indices(plan))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every distinct plan that was evaluated, in order."""
        return tuple(self._known.values())

    def proposals(self) -> Iterator[Proposal]:
        """New plans until the effort is spent, the space is exhausted, or the sampler only repeats itself."""
        start = self._clock.wall()
        repeats = 0
        while len(self._known) + len(self._open) < min(self._effort.trials, self._space.plans) and repeats < _REPEATS:
            if self._effort.seconds is not None and self._clock.wall() - start >= self._effort.seconds:
                return
            with _quiet():
                asked = self._study.ask(self._distributions)
            plan = self._space.plan(asked.params)
            if plan in self._known:
                repeats += 1
                self._answer(asked, self._known[plan])
                continue
            repeats = 0
            self._open[asked.number] = asked
            yield Proposal(asked.number, plan)

    def tell(self, trial: Trial) -> None:
        """Take a finished trial in.

        Raises:
            BudgetInfeasibleError: it is the smallest plan, and already breaks the limit of a cost.
            TaskError: nothing but failures so far; the commonest cause is named.
        """
        self._answer(self._open.pop(trial.number), trial)
        self._known[trial.plan] = trial
        if trial.plan == self._space.smallest() and trial.state is TrialState.COMPLETE:
            check_possible(trial, self._budget, self._known[self._space.dense()])
        if len(self._tried) >= _HOPELESS:
            self.check_hope()

    def check_hope(self) -> None:
        """Raise TaskError where every candidate that was tried has failed; the commonest cause is named."""
        tried = self._tried
        if tried and all(trial.state is TrialState.FAILED for trial in tried):
            cause, count = Counter(trial.error for trial in tried).most_common(1)[0]
            raise TaskError(
                expected="at least one candidate that can be evaluated",
                received=f"{len(tried)} failures, {count} of them: {cause}",
                cure="run the task's evaluate on a pruned model to find the cause",
            )

    @property
    def _tried(self) -> list[Trial]:
        return [trial for plan, trial in self._known.items() if plan != self._space.dense()]

    def close(self) -> None:
        """Mark what was asked and never answered as failed, so that the study says so."""
        for asked in self._open.values():
            self._study.tell(asked, state=OptunaState.FAIL)
        self._open.clear()

    def _answer(self, asked: optuna.Trial, trial: Trial) -> None:
        if trial.state is TrialState.FAILED:
            asked.set_user_attr("error", trial.error)
            self._study.tell(asked, state=OptunaState.FAIL)
            return
        with _quiet():
            for key, excess in trial.excesses.items():
                asked.set_constraint(key, excess)
        self._study.tell(asked, [trial.value(metric.name) for metric in self._objectives])


def check_possible(smallest: Trial, budget: Budget, dense: Trial) -> None:
    """Raise BudgetInfeasibleError where even the better end of the smallest candidate breaks the limit of a cost."""
    for limit in budget.limits:
        if limit.metric not in COSTS:
            continue
        found = smallest.measurements[limit.key]
        best = limit.excess(found.high, found.low, dense.value(limit.key))
        if best > 0:
            raise BudgetInfeasibleError(
                expected=limit.meaning(),
                received=f"best possible {quantity.show_interval(found.value, found.low, found.high, limit.unit)}",
                cure="raise the budget, or open more of the model with --space",
            )


class _quiet:  # noqa: N801 - a context, read as a word
    """Optuna's progress messages and notes on experimental features are not the user's business."""

    def __enter__(self) -> None:
        self._before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    def __exit__(self, *exception: object) -> None:
        self._caught.__exit__(*exception)  # type: ignore[arg-type]
        optuna.logging.set_verbosity(self._before)
