"""Asking and telling. Knows the first plans, repeats, order and when to stop; not how a plan is evaluated or kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from threadpoolctl import ThreadpoolController

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.core.clock import Clock
from autoprune.core.effort import Effort
from autoprune.core.metric import MetricKey
from autoprune.core.plan import Plan
from autoprune.core.proposal import Proposal
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import BudgetInfeasibleError, TaskError
from autoprune.search_spaces.space import SearchSpace
from autoprune.searching.study import Study

UNIFORM: Final = (0.75, 0.5, 0.375, 0.25)
#: So many plans are evaluated however little time there is: a search of none tells nothing.
_LEAST: Final = 3
#: So many plans in a row that are known already: the sampler has nothing new to say.
_REPEATS: Final = 100
_HOPELESS: Final = 6
#: So many plans in a row are dismissed at most: then one is evaluated, as forecasts may be wrong.
_DISMISSED: Final = 20

#: By which factor another plan may be faster than the smallest one.
_FASTER: Final = 1.25

#: Why a plan is not worth a measurement, given what was evaluated; empty where it is.
Screened = Callable[[Plan, Sequence[Trial]], str]


class Coordinator:
    """Given plans come first, then dense, smallest and uniform ones; plans that come again are answered from memory.

    window: 0, or how many plans may be out at a time in a search that is to be repeatable: their outcomes are then told
    in the order in which they were asked for, whichever is known first. given: by the user; seeds: plans to begin with
    instead of uniform ones; screen: asked for each plan of the sampler's own; dismissed: called with the trial of each
    that is screened; spent: seconds of the effort that earlier processes took.
    """

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        budget: Budget,
        effort: Effort,
        clock: Clock,
        *,
        window: int = 0,
        given: Sequence[Plan] = (),
        seeds: Sequence[Plan] = (),
        screen: Screened | None = None,
        dismissed: Callable[[Trial], None] = lambda trial: None,
        spent: float = 0.0,
    ) -> None:
        self._study, self._space, self._budget = study, space, budget
        self._effort, self._clock, self._window = effort, clock, window
        self._screen, self._dismissed, self._spent = screen, dismissed, spent
        finished = study.restored.finished
        self._known = {trial.plan: trial for trial in finished if trial.state is not TrialState.SCREENED}
        dismissals = [trial for trial in finished if trial.state is TrialState.SCREENED]
        self._screened = {trial.plan: trial for trial in reversed(dismissals)}
        self._ready: list[Proposal] = []
        self._open = {trial.number: trial.plan for trial in study.restored.evaluated}
        self._early: dict[int, Trial] = {}
        self._doubles: dict[Plan, list[Proposal]] = {}
        self._repeats, self._start, self._satisfied = 0, clock.wall(), False
        self._algebra = ThreadpoolController()
        self._dense, self._smallest = space.dense(), space.smallest()
        self._least = _LEAST + len(given)
        others = ("forecast", seeds) if seeds else ("uniform", [space.uniform(ratio) for ratio in UNIFORM])
        first: dict[Plan, str] = {}
        for proposer, plans in (("given", given), ("ends of the space", (self._dense, self._smallest)), others):
            for plan in plans:
                first.setdefault(plan, proposer)
        # What was being evaluated had been let through.
        self._unscreened = {*first, *(proposal.plan for proposal in study.restored.running)}
        for proposal in study.restored.running:
            self._take_up(proposal)
        let_through = max([-1, *self._open, *(trial.number for trial in self._known.values())])
        self._in_a_row = sum(trial.number > let_through for trial in dismissals)
        for plan in (*self._known, *self._open.values()):
            self._screened.pop(plan, None)
        if len(self._known) < effort.trials:
            study.enqueue(first)

    @property
    def evaluated(self) -> tuple[Trial, ...]:
        """What an earlier process evaluated without telling; to be told before anything is proposed."""
        return self._study.restored.evaluated

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every distinct plan that was evaluated, in order."""
        return tuple(self._known.values())

    @property
    def screened(self) -> tuple[Trial, ...]:
        """Every distinct plan that was dismissed on its forecast."""
        return tuple(self._screened.values())

    @property
    def seconds(self) -> float | None:
        """What looking for candidates may take, earlier processes included."""
        return self._effort.seconds

    @property
    def exhausted(self) -> bool:
        """Whether the sampler proposes only what is known."""
        return self._repeats >= _REPEATS or self._study.ended

    def satisfy(self) -> None:
        """Propose no more: what is known is good enough."""
        self._satisfied = True

    def proposals(self) -> Iterator[Proposal | None]:
        """New plans until the effort is spent, the space is exhausted, or the sampler only repeats itself.

        What an earlier process left unfinished comes first. None: nothing until the next outcome is told.
        """
        self._start = self._clock.wall() - self._spent
        self._check_possible()
        while True:
            if not self._ready and not self._full:
                self._ask()
            if self._ready:
                self._study.begun(self._ready[0])
                yield self._ready.pop(0)
            elif self._open and (self._full or self._repeats >= _REPEATS):
                yield None
            else:
                return

    def tell(self, trial: Trial) -> tuple[Trial, ...]:
        """Take a finished trial in; the trials whose turn has come by that, in order.

        Raises:
            BudgetInfeasibleError: one is the smallest plan, and already breaks the limit of a cost.
            TaskError: nothing but failures so far; the commonest cause is named.
        """
        trial = self._signed(trial)
        if not self._window:
            self._take(trial)
            return (trial,)
        self._early[trial.number] = trial
        self._fill()
        if min(self._open) != trial.number:
            self._study.keep(trial)
        taken = []
        while self._open and (first := min(self._open)) in self._early:
            taken.append(self._early.pop(first))
            self._take(taken[-1])
            self._fill()  # the next is asked for when so much is known and no more, however fast the others were
        return tuple(taken)

    @property
    def _full(self) -> bool:
        return bool(self._window) and len(self._open) >= self._window

    @property
    def _late(self) -> bool:
        """Whether the time for candidates is spent."""
        return self._effort.seconds is not None and self._clock.wall() - self._start >= self._effort.seconds

    def _fill(self) -> None:
        """Ask until as many plans are out as may be."""
        while not self._full:
            before = len(self._open)
            self._ask()
            if len(self._open) == before:
                return

    def _ask(self) -> None:
        """One new plan more to be proposed, if there is one."""
        most = min(self._effort.trials, self._space.plans)
        while (count := len(self._known) + len(self._open)) < most and self._repeats < _REPEATS:
            if self._study.ended or self._satisfied or (self._late and count >= self._least):
                return
            # Samplers' matrices are small: threads that wait for each other beside busy processors make them 50 times
            # slower, and one thread adds in one order everywhere.
            # A plan is asked for and dismissed, or let through, in one commit: to who goes on it is decided, or was
            # never asked for.
            with self._algebra.limit(limits=1), self._study.together():
                proposal = self._study.ask()
                new = self._take_up(proposal)
            dismissed = self._screened.get(proposal.plan)
            if dismissed is not None and dismissed.number == proposal.number:
                self._dismissed(dismissed)
            if new:
                self._repeats = 0
                return
            self._repeats += 1

    def _take_up(self, proposal: Proposal) -> bool:
        """Whether a plan is to be evaluated; one that is known, or out already, is answered from that."""
        known = self._known.get(proposal.plan)
        if known is not None:
            self._study.repeat(proposal, known)
        elif proposal.plan in self._open.values():
            self._doubles.setdefault(proposal.plan, []).append(proposal)
        elif reason := self._reason(proposal.plan):
            self._in_a_row += 1
            trial = self._signed(Trial(proposal.number, proposal.plan, TrialState.SCREENED, error=reason))
            self._study.tell(trial)
            self._screened.setdefault(proposal.plan, trial)
        else:
            self._in_a_row = 0
            self._screened.pop(proposal.plan, None)
            self._open[proposal.number] = proposal.plan
            self._ready.append(proposal)
            return True
        return False

    def _reason(self, plan: Plan) -> str:
        """Why a plan is not evaluated; empty where it is. What was dismissed once stays so, however often it comes."""
        if self._screen is None or plan in self._unscreened or self._in_a_row >= _DISMISSED:
            return ""
        before = self._screened.get(plan)
        return before.error if before is not None else self._screen(plan, self.trials)

    def _signed(self, trial: Trial) -> Trial:
        return replace(trial, proposer=self._study.proposer(trial.number))

    def _take(self, trial: Trial) -> None:
        self._study.tell(trial)
        del self._open[trial.number]
        self._repeats = 0
        self._known[trial.plan] = trial
        for double in self._doubles.pop(trial.plan, ()):
            self._study.repeat(double, trial)
        if trial.plan in (self._smallest, self._dense):
            self._check_possible()
        if len(self._known) > _HOPELESS:
            self.check_hope()

    def _check_possible(self) -> None:
        known = [self._known.get(plan) for plan in (self._smallest, self._dense)]
        complete = [trial for trial in known if trial is not None and trial.state is TrialState.COMPLETE]
        if len(complete) == len(known):
            check_possible(complete[0], complete[1], self._budget)

    def release(self) -> None:
        """The search ends here by itself: what is being evaluated has not taken its process down."""
        self._study.forgive()

    def check_hope(self) -> None:
        """Raise TaskError where every candidate that was tried has failed; the commonest cause is named."""
        if any(plan != self._dense and t.state is not TrialState.FAILED for plan, t in self._known.items()):
            return
        tried = [trial for plan, trial in self._known.items() if plan != self._dense]
        if tried:
            cause, count = Counter(trial.error for trial in tried).most_common(1)[0]
            raise TaskError(
                expected="at least one candidate that can be evaluated",
                received=f"{len(tried)} failures, {count} of them: {cause}",
                cure="run the task's evaluate on a pruned model to find the cause",
            )


def check_possible(smallest: Trial, dense: Trial, budget: Budget) -> None:
    """Raise BudgetInfeasibleError where even the better end of the smallest candidate breaks the limit of a cost; of
    what is measured by far, as a model of odd sizes may be slower than a larger one."""
    for limit in budget.limits:
        if not limit.is_cost:
            continue
        found, whole = smallest.measurements[limit.key], dense.value(limit.key)
        relative = smallest.measurements.get(limit.relative_key)
        ends = found.high, found.low
        if limit.basis == "share" and relative is not None:
            # The two may be of two processes, in each of which the device had another speed: their ratio was paired.
            ends = relative.high * whole, relative.low * whole
        slack = 1.0 if MetricKey.parse(limit.metric).counted else _FASTER
        if limit.excess(ends[0] * slack, ends[1] / slack, whole) > 0:
            raise BudgetInfeasibleError(
                expected=limit.meaning(),
                received=f"best possible {quantity.show_interval(found.value, found.low, found.high, limit.unit)}",
                cure="raise the budget, or open more of the model with --space",
            )
