"""The one study of a run: what was asked, told, or left running. Knows Optuna and the ledger; not what a plan is worth.

Everything of a trial is told in one commit, its whole record with it, so that a run goes on from the study alone.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from autoprune.core.metric import Metric
from autoprune.core.plan import Plan
from autoprune.core.proposal import Proposal
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import StorageError, UsageError, describe
from autoprune.samplers import PROPOSER, PROXY_VALUE, REPEAT, SCREENED, SECONDS, distributions
from autoprune.search_spaces.space import SearchSpace
from autoprune.store.ledger import Ledger

_RECORD, _ADOPTED, _DIGEST = "record", "adopted", "search space"
#: A trial that was running each time its process died, so often, is what kills it.
_ADOPTIONS: Final = 3


@dataclass(frozen=True)
class Restored:
    """What an earlier process left: finished trials, trials that were evaluated but not told, and running ones."""

    finished: tuple[Trial, ...] = ()
    evaluated: tuple[Trial, ...] = ()
    running: tuple[Proposal, ...] = ()


class Study:
    """Asks and tells, each a commit. `restored` is what was there already; ended: the sampler has nothing left."""

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        space: SearchSpace,
        objectives: Sequence[Metric],
        sampler: BaseSampler | None = None,
        *,
        new: bool = True,
        proxy_metric: str = "",
    ) -> None:
        """Create the study, or open it where it is not `new`. sampler: None where `use` gives it later; proxy_metric:
        what samplers may learn from beside the objectives.

        Raises:
            StorageError: there is one of that name already, or none, or it is of another search space.
        """
        self._ledger, self._space, self._objectives, self._proxy_metric = ledger, space, tuple(objectives), proxy_metric
        self._distributions: dict[str, Any] = dict(distributions(space))
        self._open: dict[int, optuna.Trial] = {}
        with quiet(), ledger.commit():
            self._study = _created(ledger, name, objectives) if new else _loaded(ledger, name)
            if _DIGEST not in self._study.user_attrs and not self._study.get_trials(deepcopy=False):
                self._study.set_user_attr(_DIGEST, space.digest)
        found = self._study.user_attrs.get(_DIGEST)
        if found != space.digest:
            raise StorageError(
                expected=f"a study of the search space {space.digest}",
                received=f"one of {found}",
                cure="restore the model, the task and the search space as they were, or search anew",
            )
        self._new, self.restored, self.ended = new, Restored(), False
        if sampler is not None:
            self.use(sampler)

    def use(self, sampler: BaseSampler) -> None:
        """Who proposes from now on. What an earlier process left is taken over: `restored` has it."""
        self._study.sampler = sampler
        self._study.stop = self._end  # type: ignore[method-assign] # Optuna's own is for its own loop
        self.restored = Restored() if self._new else self._restored()

    def _end(self) -> None:
        self.ended = True

    def remove(self) -> None:
        """Forget a study in which nothing has happened; a database would keep it."""
        with quiet(), self._ledger.commit():
            optuna.delete_study(study_name=self._study.study_name, storage=self._ledger.storage)

    def enqueue(self, plans: Mapping[Plan, str]) -> None:
        """Ask for these before the sampler's own; those that were enqueued before are not again.

        plans: each with who proposes it.
        """
        with quiet(), self._ledger.commit():
            for plan, proposer in plans.items():
                self._study.enqueue_trial(self._space.indices(plan), {PROPOSER: proposer}, skip_if_exists=True)

    def together(self) -> AbstractContextManager[None]:
        """What is asked and told inside is one commit, where the ledger is a journal."""
        return self._ledger.commit()

    def ask(self) -> Proposal:
        """The next plan; durable before anything is done with it.

        Raises:
            UsageError: the sampler cannot propose for this study.
        """
        with quiet(), self._ledger.commit(), self._sampling():
            asked = self._study.ask(self._distributions)
        self._open[asked.number] = asked
        return Proposal(asked.number, self._space.plan(asked.params))

    def proposer(self, number: int) -> str:
        """Who asked for a trial that is open; empty where the sampler does not say."""
        asked = self._open[number]
        own = self._study._storage.get_trial_system_attrs(asked._trial_id)
        return str(asked.user_attrs.get(PROPOSER) or own.get(PROPOSER, ""))

    def keep(self, trial: Trial) -> None:
        """Make the outcome of an evaluation durable before its turn to be told has come."""
        with self._ledger.commit():
            self._open[trial.number].set_user_attr(_RECORD, json.dumps(trial.to_json("search"), allow_nan=False))

    def tell(self, trial: Trial) -> None:
        """The outcome of an evaluation, acknowledged once this returns."""
        asked = self._open.pop(trial.number)
        with quiet(), self._ledger.commit():
            asked.set_user_attr(_RECORD, json.dumps(trial.to_json("search"), allow_nan=False))
            self._close(asked, trial)

    def repeat(self, proposal: Proposal, known: Trial) -> None:
        """Answer a plan that came again from memory."""
        asked = self._open.pop(proposal.number)
        with quiet(), self._ledger.commit():
            asked.set_user_attr(REPEAT, known.number)
            self._close(asked, known)

    def _close(self, asked: optuna.Trial, trial: Trial) -> None:
        if trial.state is not TrialState.COMPLETE:
            # Optuna has no state for what was never evaluated: a pruned trial of several objectives upsets samplers.
            asked.set_user_attr("error" if trial.state is TrialState.FAILED else SCREENED, trial.error)
            values, state = None, OptunaState.FAIL
        else:
            asked.set_user_attr(SECONDS, trial.timing.total)
            if self._proxy_metric:
                asked.set_user_attr(PROXY_VALUE, trial.value(self._proxy_metric))
            for key, excess in trial.excesses.items():
                asked.set_constraint(key, excess)
            values, state = [trial.value(metric.name) for metric in self._objectives], None
        with self._sampling():
            self._study.tell(asked, values, state=state)

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Samplers may be anybody's, and differ in how many objectives and what kinds of parameters they take."""
        try:
            yield
        except (ValueError, TypeError, LookupError, RuntimeError) as error:  # no storage raises these
            if type(self._study.sampler).__module__.partition(".")[0] == __name__.partition(".")[0]:
                raise  # a fault of ours, which no other choice cures
            raise UsageError(
                expected=f"a sampler for {len(self._objectives)} objectives and {len(self._distributions)} integers",
                received=f"{type(self._study.sampler).__name__}, which says {describe(error)}",
                cure="pass another one",
            ) from error

    def begun(self, proposal: Proposal) -> None:
        """A proposal goes out; of one that an earlier process left, that is counted."""
        asked = self._open[proposal.number]
        if _ADOPTED in asked.user_attrs:
            with self._ledger.commit():
                asked.set_user_attr(_ADOPTED, asked.user_attrs[_ADOPTED] + 1)

    def forgive(self) -> None:
        """What is open did not take its process down."""
        with self._ledger.commit():
            for asked in self._open.values():
                if asked.user_attrs.get(_ADOPTED):
                    asked.set_user_attr(_ADOPTED, 0)

    def _restored(self) -> Restored:
        finished, evaluated, running = [], [], []
        for frozen in self._study.get_trials(deepcopy=False):
            if _RECORD in frozen.user_attrs:
                trial = _read(frozen)
                # Records of before plans of one model became one plan are read as that one.
                trial = replace(trial, plan=self._space.at(self._space.places(trial.plan)))
                if not frozen.state.is_finished():
                    self._adopt(frozen)
                    evaluated.append(trial)
                else:
                    finished.append(trial)
            elif frozen.state is OptunaState.RUNNING:
                proposal = self._adopt(frozen)
                times = frozen.user_attrs.get(_ADOPTED, 0)
                if times < _ADOPTIONS:
                    running.append(proposal)
                    continue
                error = f"the search died {times + 1} times while it ran"
                finished.append(Trial(proposal.number, proposal.plan, TrialState.FAILED, error=error))
                self.tell(finished[-1])
        return Restored(tuple(finished), tuple(evaluated), tuple(running))

    def _adopt(self, frozen: FrozenTrial) -> Proposal:
        """Take a trial over; one that was asked for only in part is asked for to its end."""
        with quiet(), self._ledger.commit():
            adopted = self._open[frozen.number] = optuna.Trial(self._study, frozen._trial_id)
            if _ADOPTED not in frozen.user_attrs:
                adopted.set_user_attr(_ADOPTED, 0)
            for name, levels in self._distributions.items():
                adopted.suggest_int(name, levels.low, levels.high)
        return Proposal(frozen.number, self._space.plan(adopted.params))


def trials_told(ledger: Ledger, name: str) -> int:
    """How many trials a study has; 0 where there is none of that name."""
    known = {summary.study_name: summary.n_trials for summary in optuna.get_all_study_summaries(ledger.storage)}
    return known.get(name, 0)


def _created(ledger: Ledger, name: str, objectives: Sequence[Metric]) -> optuna.Study:
    down, up = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
    directions = [down if metric.lower_is_better else up for metric in objectives]
    try:
        return optuna.create_study(
            study_name=name, storage=ledger.storage, sampler=RandomSampler(0), directions=directions
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise StorageError(
            expected=f"no study called '{name}' yet",
            received="one of an earlier search",
            cure="resume that run, or choose another --run: studies are called after its folder",
        ) from error


def _loaded(ledger: Ledger, name: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=ledger.storage, sampler=RandomSampler(0))
    except KeyError as error:
        raise StorageError(
            expected=f"the study '{name}' of an earlier search",
            received="none of that name",
            cure="restore it from a copy, or search anew in another --run",
        ) from error


def _read(frozen: FrozenTrial) -> Trial:
    try:
        return Trial.from_json(json.loads(frozen.user_attrs[_RECORD]))
    except (ValueError, TypeError) as error:
        raise StorageError(
            expected=f"the record of trial {frozen.number} in the study",
            received=describe(error),
            cure="restore the study from a copy",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's progress messages and notes on experimental features are not the user's business."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
