"""One search in its run directory. Knows the order of its stages, and how it may end."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Final, NoReturn

from autoprune import registry
from autoprune.core.address import HERE
from autoprune.core.budget import Budget
from autoprune.core.clock import Clock
from autoprune.core.forecast import Forecast
from autoprune.core.front import Front
from autoprune.core.goal import SearchGoal
from autoprune.core.metric import COUNTED, cost
from autoprune.core.plan import Plan
from autoprune.core.proposal import contested
from autoprune.core.reporter import Reporter
from autoprune.core.rivals import Rivals
from autoprune.core.trial import Trial, TrialState
from autoprune.cost_model import cost_forecast
from autoprune.engine.prepare import Prepared, check_zeros, fingerprint, objectives_of
from autoprune.engine.recipe import installed, recipe, understood
from autoprune.engine.result import Result
from autoprune.engine.run_artifacts import begun_with, keep_forecast, keep_ranking, kept_forecast, kept_ranking
from autoprune.engine.settings import Settings, able
from autoprune.engine.written import written
from autoprune.errors import (
    BudgetInfeasibleError,
    DeviceError,
    StorageError,
    TaskError,
    Terminated,
    UsageError,
    describe,
    stopped,
)
from autoprune.executors import Executor
from autoprune.finishing.finisher import FinishedSearch, Finisher, save
from autoprune.finishing.tuning_study import TuningStudy
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.counts import counts
from autoprune.measure.device import DeviceSpec
from autoprune.measure.devices import described, profilers, several
from autoprune.recovery.calibrate import calibrate
from autoprune.samplers import SamplerContext, may_screen, seed_count
from autoprune.searching.candidate import Evaluator, excesses, judged
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.forecasting import check_reach, foresee, goal_of, proxy_metric_of
from autoprune.searching.progress import Progress, overhead_of
from autoprune.searching.screen import Screen
from autoprune.searching.study import Study, trials_told
from autoprune.store.ledger import open_ledger
from autoprune.store.run import RunDirectory
from autoprune.surrogate.initial_plans import seeds

#: What a run goes on with that is fine-tuned meanwhile, which proposes nothing.
_SAMPLER: Final = ("sampler", "sampler_options")
#: Seconds after which no group more is cut alone, unless the search is to be repeatable.
_ABLATING_S: Final = 60.0


class Engine:
    """A search, new or (with the recipe of an earlier process) gone on with. `close` when done."""

    def __init__(
        self,
        directory: RunDirectory,
        prepared: Prepared,
        budget: Budget,
        settings: Settings,
        clock: Clock,
        reporter: Reporter,
        began: dict[str, Any] | None = None,
        *,
        propose: bool = True,
    ) -> None:
        self.directory, self.prepared, self.budget = directory, prepared, budget
        self.settings, self.effort, self.clock, self.reporter = settings, settings.effort, clock, reporter
        self._began, self._propose = began, propose
        self._closing = ExitStack()
        with ExitStack() as opening:
            opening.push(self._closing)
            self._open()
            opening.pop_all()

    def _open(self) -> None:
        settings, task, reporter = self.settings, self.prepared.task, self.reporter
        if self.effort.epochs:
            task.check_training()
        self.setups = settings.setups(task.spec, self.budget.metrics)
        names = profilers(self.setups)
        module = registry.load("executors", settings.executor)
        self.executor: Executor = module.create(settings.cluster, settings.node, reporter)
        self._closing.callback(self.executor.close)
        if settings.device == HERE and [*self.setups] == [""]:
            # What cannot be must be said before anything is started.
            objectives_of(self.budget, task, self.setups[""].capabilities(self.clock), names)
        self.seats: dict[str, AnyDevice] = {}
        for name, setup in self.setups.items():
            spec = DeviceSpec(
                setup,
                task.model,
                task.example_inputs,
                self.prepared.traced,
                settings.seed,
                self.clock,
                cost_forecast.costs,
            )
            self.seats[name] = self.executor.open_device(spec)
            self._closing.callback(self.seats[name].close)
        self.device = several(self.seats, self.setups)
        capabilities = self.device.capabilities
        self.objectives = objectives_of(self.budget, task, capabilities, names)
        wanted = {*self.budget.metrics, *(metric.name for metric in self.objectives)}
        note = check_zeros(self.prepared.space, wanted, capabilities, names)
        if note:
            reporter.warn(note)
        self.timed = any(cost(name) is not None and name not in COUNTED for name in wanted)
        for each in self.directory.notes:
            reporter.warn(each)
        self.ledger = open_ledger(self.directory.path, settings.storage, new=self._began is None)
        self._closing.callback(self.ledger.close)
        if self.ledger.torn:
            reporter.warn(f"the study's journal was cut off in the middle of a write; {self.ledger.torn} bytes dropped")
        self._name = str((self._began or {}).get("study") or self._named())
        self._same_device()
        new = self._began is None
        self._told = 0 if new else trials_told(self.ledger, self._name)
        about = (self.ledger, self._name, self.prepared.space, self.objectives)
        self.study = Study(*about, new=new, proxy_metric=proxy_metric_of(self.prepared.task.metrics))

    def _named(self) -> str:
        """What a new study is called: after the run; in a database, where others may be called so, with a number."""
        name = self.directory.path.resolve().name
        return f"{name}-{secrets.token_hex(4)}" if self.settings.storage else name

    def _same_device(self) -> None:
        """Raise DeviceError where candidates were timed on another device than this one."""
        before = (self._began or {}).get("device_fingerprint", self.device.fingerprint)
        if self.timed and before != self.device.fingerprint:
            raise DeviceError(
                expected=f"the device that the run was begun on, {before}",
                received=self.device.fingerprint,
                cure="go on there, or search anew: latencies of two devices do not compare",
            )

    def close(self) -> None:
        """Let go of everything that was opened, the last one first."""
        self._closing.close()

    def run(self) -> Result:
        """To the end; or to a partial front, and then the reason for it is raised."""
        self._echo()
        evaluator, goal, coordinator = self._made_ready()
        ended: BaseException | None = None
        began = self.clock.wall()
        try:
            # Not in a repeatable search: the next plan is asked for before the last one is known.
            if self.timed and not self.settings.deterministic and self.executor.workers == 1:
                evaluator = evaluator.overlapping(self.prepared.space.smallest(), self.reporter)
            self._drive(coordinator, evaluator, goal)
            coordinator.check_hope()
            if coordinator.exhausted:
                self.reporter.note(f"the sampler knows nothing new after {len(coordinator.trials)} candidates")
        except (Exception, KeyboardInterrupt, Terminated) as reason:
            ended = reason
            self.reporter.warn("stopping; what is known is being written (Ctrl-C to stop at once)")
            with suppress(StorageError):  # what cannot be written any more is not the news
                coordinator.release()
        fresh = coordinator.trials[self._known :]
        overhead = self._searched(fresh, self.clock.wall() - began, len(coordinator.trials))
        try:
            evaluator = replace(evaluator, dense={**evaluator.dense, **self.device.reference()})
            trials = tuple(evaluator.restated(coordinator.trials))
        except Exception as error:  # the device is gone; what was measured stands as it was told
            if ended is not None:
                self.reporter.warn(f"latencies are left as they were told: {describe(error)}")
            ended, trials = ended or error, coordinator.trials
        final = None
        if ended is None:
            try:
                finisher = self._finisher(evaluator)
                final = self._finished(finisher, trials)
            except (Exception, KeyboardInterrupt, Terminated) as reason:
                ended = reason
        if ended is not None and self.directory.finished:  # never a worse front in its place
            self.reporter.warn("the finished front that this run had stands")
            self._stop(ended, "the finished front that it had stands", len(trials))
        try:
            counted = [judged(trial, self.budget, evaluator.dense) for trial in (*trials, *coordinator.screened)]
            final = final or self._partial(counted, evaluator)
            result = written(
                self.directory,
                task=self.prepared.task,
                seed=self.settings.seed,
                devices={name: described(setup, self.seats[name]) for name, setup in self.setups.items()},
                budget=self.budget,
                objectives=self.objectives,
                trials=counted,
                final=final,
                overhead=overhead,
                partial=ended is not None,
                # A search that was cut short is so also when what it found was fine-tuned.
                short=ended is not None or not (self._propose or self.directory.ended),
            )
        except Exception as error:
            if ended is None:
                raise
            self.reporter.warn(f"the front so far could not be written: {describe(error)}")
            raise ended from None
        if ended is not None:
            self._stop(ended, f"the front so far has {len(result.front)} models", len(trials))
        finisher.tuning.close()
        self.directory.forget_checkpoints()
        return result

    def _finished(self, finisher: Finisher, trials: Sequence[Trial]) -> FinishedSearch:
        with self.directory.stage("finishing"):
            final = finisher.finish(trials)
        self.directory.move("finishing", "waiting", self.device.waited())
        return final

    def _searched(self, fresh: Sequence[Trial], wall: float, known: int) -> float:
        """Write down where the time of the search for candidates went; the share that was overhead."""
        overhead = overhead_of(fresh, wall, self.executor.workers)
        told = round(overhead, 4) if math.isfinite(overhead) else None
        self.directory.log("searched", trials=known, overhead=told)
        return overhead

    def _made_ready(self) -> tuple[Evaluator, SearchGoal, Coordinator]:
        """All that is done before the first candidate is evaluated."""
        try:
            evaluator = self._evaluator()
            goal = self._goal(evaluator, new=self._began is None)
            forecast = self._forecast(evaluator, goal)
            if self._began is None and forecast is not None:
                # The forecast looked at the device at other moments, too: what is quiet is known better by now.
                evaluator = replace(evaluator, dense={**evaluator.dense, **self.device.reference()})
                goal = self._goal(evaluator, new=True)
            return evaluator, goal, self._coordinator(goal, forecast)
        except (KeyboardInterrupt, Terminated) as reason:
            self._stop(reason, "no candidate was being evaluated", len(self.study.restored.finished))
        except (UsageError, TaskError, BudgetInfeasibleError):
            if self._began is None:  # nothing has happened: the same command, mended, is to be taken
                self.study.remove()
                self.directory.discard()
            raise

    def _goal(self, evaluator: Evaluator, *, new: bool) -> SearchGoal:
        """What the search is after, as it was when the run began."""
        dense = begun_with(self.directory, evaluator.dense, new=new)
        return goal_of(self.budget, self.objectives, dense, proxy_metric_of(self.prepared.task.metrics))

    def _stop(self, reason: BaseException, front: str, trials: int) -> NoReturn:
        """Raise why a search ended early; of a signal, with what became of the search."""
        if not isinstance(reason, KeyboardInterrupt | Terminated):
            raise reason
        raise stopped(reason, front, trials, str(self.directory.path)) from reason

    def _finisher(self, evaluator: Evaluator) -> Finisher:
        quality = self.prepared.task.quality
        return Finisher(
            replace(evaluator, budget=self.budget),
            self.objectives,
            self.effort,
            self.settings.seed,
            self.executor.finetune,
            TuningStudy(self.ledger, self._name, quality),
            self.directory.model,
            self.directory.checkpoint,
            self.directory.record,
            self.directory.log,
            self.reporter,
            self.directory.stage,
        )

    def _echo(self) -> None:
        """What was understood, before any work is done, and the recipe."""
        for text in understood(self.prepared, self.budget):
            self.reporter.note(text)
        self.reporter.note(f"run directory: {self.directory.path}")
        names, versions = [metric.name for metric in self.objectives], installed()
        began = self._began or {}
        model = began.get("model") or fingerprint(self.prepared.task.model)
        if began and model != fingerprint(self.prepared.task.model):
            self.reporter.warn("the dense model's weights are not those that the run began with: scores do not compare")
        self.directory.write_recipe(
            {
                **recipe(self.prepared, self.budget, names, self.settings),
                **({} if self._propose else {name: began[name] for name in _SAMPLER if name in began}),
                "study": self._name,
                "window": self._window(),
                "model": model,
                "device_fingerprint": began.get("device_fingerprint", self.device.fingerprint),
                "versions": versions,
            }
        )
        self.directory.log("began" if self._began is None else "resumed", versions=versions)

    def _evaluator(self) -> Evaluator:
        task, traced, settings = self.prepared.task, self.prepared.traced, self.settings
        ranked = kept_ranking(self.directory) if self._began is not None else None
        with self.directory.stage("opening"):
            # Not beside other work: threads that wait for each other on taken processors lose more than is gained.
            with self.reporter.track("opening the device", 1) as advance:
                opened = self.device.open(patient=self.timed)
                advance("")
            with self.reporter.track("scoring the dense model", 1) as advance:
                scored = task.score(task.model, "search")
                advance("")
        with self.directory.stage("ranking"):
            about = (settings.criterion, settings.repair, self.clock, task, ranked, self.reporter)
            calibrated = calibrate(task.model, traced, *about)
        for note in (*calibrated.passes, *calibrated.notes):
            self.reporter.note(note)
        keep_ranking(self.directory, calibrated.ranking)
        dense = {**scored, **opened, **counts(task.model, self.device.example)}
        costs = replace(self.budget, limits=tuple(limit for limit in self.budget.limits if limit.is_cost))
        if costs.limits and all(excess <= 0 for excess in excesses(costs, dense, dense).values()):
            self.reporter.note("the dense model already meets the budget; looking for the best front below it")
        return Evaluator(
            task, traced, calibrated.ranking, self.device, costs, dense, self.clock, calibrated.repair, self.timed
        )

    def _forecast(self, evaluator: Evaluator, goal: SearchGoal) -> Forecast | None:
        """What the sampler asks to know before it proposes; as an earlier process found it, if one did."""
        if not (self._propose and self.settings.wants_forecast):
            return None
        self.settings = able(self.settings, goal, self.reporter)
        if not self.settings.wants_forecast:
            return None
        kept = kept_forecast(self.directory) if self._began is not None else None
        if kept is not None:
            return kept
        limited = [limit.metric for limit in self.budget.limits]
        with self.directory.stage("forecast"):
            check_reach(self.prepared.space, evaluator, self.executor)
            about = (self.executor, self.settings.seed, self.reporter)
            limit_s = math.inf if self.settings.deterministic else _ABLATING_S
            found = foresee(self.prepared.space, goal, evaluator, limited, *about, limit_s)
        keep_forecast(self.directory, found)
        self.directory.log("forecast", seconds=round(found.seconds, 2))
        return found

    def _coordinator(self, goal: SearchGoal, forecast: Forecast | None) -> Coordinator:
        study, settings, space = self.study, self.settings, self.prepared.space
        context = SamplerContext(space, settings.seed, goal, forecast, settings.options, settings.deterministic)
        study.use(settings.made_sampler(context, self._told))
        effort = self.effort
        if not self._propose:  # what was being evaluated is still finished
            evaluated = [t for t in study.restored.finished if t.state is not TrialState.SCREENED]
            effort = replace(effort, trials=max(len(evaluated), 1))
        first: list[Plan] = []
        if forecast is not None and (count := seed_count(settings.sampler_module, settings.options)):
            first = [space.at(levels) for levels in seeds(forecast, goal, space, settings.seed, count)]
        coordinator = Coordinator(
            study,
            space,
            self.budget,
            effort,
            self.clock,
            self._window(),
            first,
            Screen(forecast, goal, space).reason if forecast and may_screen(settings.sampler_module) else None,
            lambda trial: self.directory.record(trial, "search"),
            self.directory.searched,
        )
        self._known = len(coordinator.trials)
        if self._began is not None:
            told = self.directory.recorded()
            for trial in (*coordinator.trials, *coordinator.screened):
                if trial.number not in told:
                    self.directory.record(trial, "search")
            left = len(study.restored.running)
            self.reporter.note(f"resumed: {self._known} candidates are known, {left} were being evaluated")
        return coordinator

    def _window(self) -> int:
        """How many plans are out at a time in a repeatable search: as many as when it began, whatever does the work."""
        kept = int((self._began or {}).get("window") or self.executor.workers)
        return kept if self.settings.deterministic else 0

    def _drive(self, coordinator: Coordinator, evaluator: Evaluator, goal: SearchGoal) -> None:
        progress = Progress(goal, self.effort, self.clock, self.executor.workers)
        known = [judged(trial, self.budget, evaluator.dense) for trial in coordinator.trials]
        progress.resume(known, self.directory.searched)
        self.directory.log("searching")
        with self.reporter.track("searching", self.effort.trials, self._known) as advance:

            def told(trial: Trial) -> None:
                for taken in coordinator.tell(trial):
                    self.directory.record(taken, "search")
                    if taken.error:
                        self.reporter.warn(f"trial {taken.number} failed: {taken.error}")
                    state = progress.add(judged(taken, self.budget, evaluator.dense), self.executor.busy)
                    self.directory.log("trial", trial=taken.number, state=str(taken.state), **state)
                    advance(progress.line(state))

            for trial in coordinator.evaluated:
                told(trial)
            # In a repeatable search, what others happen to know by then does not count.
            proposals = coordinator.proposals()
            if not self.settings.deterministic:
                proposals = contested(proposals, lambda: Rivals.of(coordinator.trials, goal))
            for trial in self.executor.drive(proposals, evaluator):
                told(trial)

    def _partial(self, trials: Sequence[Trial], evaluator: Evaluator) -> FinishedSearch:
        """The front as it is, scored on the search split, its models repaired but not fine-tuned."""
        front = Front.of(trials, self.objectives)
        for trial in front.trials:
            save(trial, evaluator.cut(trial.plan), evaluator, self.directory.model(trial.number))
        return FinishedSearch(front, evaluator.dense, {})
