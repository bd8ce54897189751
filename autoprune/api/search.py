"""`autoprune.search`: the whole way of the data, once. Knows the order of the stages and how a search may end."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any, Final

import safetensors.torch
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage

from autoprune import registry
from autoprune.api.prepare import Prepared, check_device, check_zeros, describe_space, make_task, objectives_of, prepare
from autoprune.api.result import Point, Result
from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.defaults import CRITERION, EXECUTOR, PROFILER, REPAIR, SAMPLER
from autoprune.core.effort import Effort
from autoprune.core.front import Front
from autoprune.core.measurement import RunSpec
from autoprune.core.metric import COSTS, COUNTED
from autoprune.core.reporter import Reporter, Silent
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import InterruptedSearchError, StoppedEarlyError, Terminated, UsageError
from autoprune.measure.counts import counts
from autoprune.measure.device import Device, Setup
from autoprune.recovery.ready import ready
from autoprune.report.document import document
from autoprune.report.plot import front_picture
from autoprune.searching.candidate import Evaluator, excesses
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.finalise import Finalised, Finisher, save
from autoprune.store.run import RunDirectory, next_free
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

_PLURALS: Final = {
    "sampler": "samplers",
    "criterion": "criteria",
    "repair": "repairs",
    "profiler": "profilers",
    "executor": "executors",
}
_RECORDED: Final = ("autoprune", "torch", "optuna", "numpy")


@dataclass(frozen=True)
class Settings:
    """Names of plug-ins and how they run; everything but task, budget and effort."""

    sampler: str | BaseSampler = SAMPLER
    criterion: str = CRITERION
    repair: str = REPAIR
    space: str | None = None
    profiler: str = PROFILER
    device: str = "local"
    threads: int = 1
    batch: int = 0
    precision: str = "float32"
    executor: str = EXECUTOR
    seed: int = 0

    @property
    def run_spec(self) -> RunSpec:
        return RunSpec(self.threads, self.batch, self.precision)

    def __post_init__(self) -> None:
        _ = self.run_spec  # refuses what cannot be
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            cure = "pass a whole number to seed"
            raise UsageError(expected="seed of at least 0", received=repr(self.seed), cure=cure)
        check_device(self.device)
        for kind in _PLURALS:
            name = getattr(self, kind)
            if isinstance(name, str):
                registry.load(_PLURALS[kind], name)


def search(
    task: Task | str | Callable[[], Task] = "digits",
    budget: Budget | str | Sequence[str] = (),
    *,
    trials: int = Effort.trials,
    timeout: float | None = None,
    epochs: int = Effort.epochs,
    finalists: int = Effort.finalists,
    sampler: str | BaseSampler = SAMPLER,
    criterion: str = CRITERION,
    repair: str = REPAIR,
    space: str | None = None,
    profiler: str = PROFILER,
    device: str = "local",
    threads: int = 1,
    batch: int = 0,
    precision: str = "float32",
    executor: str = EXECUTOR,
    run: str | PathLike[str] | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Result:
    """Search the pruned models of a task that no other candidate beats, and finish the best few under the budget.

    task: a Task, a name such as "digits" or "my_task.py:task", or an importable function that makes one;
    budget: `Budget`, or limits such as "latency=5ms"; trials, timeout (seconds): what the search for candidates may
    spend; epochs: fine-tuning of each of the at most `finalists` finished models; batch: whose latency counts, 0 for
    the task's own; criterion, repair: which slices go first, and how a cut model is healed before it is scored;
    precision: that the profiler computes in; run: a new directory, by default the next free one under
    `runs/`.

    Ctrl-C ends the search with a partial front, and InterruptedSearchError once that is written.

    Raises:
        UsageError, BudgetInfeasibleError, TaskError, DeviceError, StorageError: see `autoprune.errors`.
    """
    reporter = reporter or Silent()
    limits = budget if isinstance(budget, Budget) else Budget.parse(*([budget] if isinstance(budget, str) else budget))
    settings = Settings(sampler, criterion, repair, space, profiler, device, threads, batch, precision, executor, seed)
    effort = Effort(trials, timeout, epochs, finalists)
    clock = SystemClock()
    path = Path(run) if run is not None else next_free(Path("runs"), _name_of(task))
    directory = RunDirectory(path, clock)
    try:
        made = make_task(task, reporter)
        engine = _Engine(directory, prepare(made, space), limits, settings, effort, clock, reporter)
    except BaseException:
        directory.discard()
        raise
    try:
        with evaluating(made.model):
            return engine.run()
    finally:
        engine.close()
        directory.close()


def preview(task: str, budget: Budget, effort: Effort, *, reporter: Reporter, **names: Any) -> dict[str, Any]:
    """What `search` would do, without evaluating a candidate or writing a file; raises what it would raise."""
    settings = Settings(**names)
    prepared = prepare(make_task(task, reporter), settings.space)
    capabilities = Setup(settings.profiler, settings.run_spec).capabilities(SystemClock())
    objectives = objectives_of(budget, prepared.task, capabilities, settings.profiler)
    wanted = {limit.metric for limit in budget.limits} | {metric.name for metric in objectives}
    check_zeros(prepared.space, wanted, capabilities, settings.profiler)
    return _recipe(prepared, budget, [metric.name for metric in objectives], effort, settings) | {
        "meaning": [limit.meaning() for limit in budget.limits]
    }


def _recipe(
    prepared: Prepared, budget: Budget, objectives: list[str], effort: Effort, settings: Settings
) -> dict[str, Any]:
    """All that decides a search, ready for JSON and YAML."""
    return {
        "task": prepared.task.spec or prepared.task.name,
        "budget": [str(limit) for limit in budget.limits],
        "objectives": objectives,
        "effort": asdict(effort),
        **{item.name: getattr(settings, item.name) for item in fields(settings)},
        "sampler": settings.sampler if isinstance(settings.sampler, str) else type(settings.sampler).__name__,
        "search_space": describe_space(prepared),
    }


class _Engine:
    """One search in its run directory."""

    def __init__(
        self,
        directory: RunDirectory,
        prepared: Prepared,
        budget: Budget,
        settings: Settings,
        effort: Effort,
        clock: Clock,
        reporter: Reporter,
    ) -> None:
        self.directory, self.prepared, self.budget = directory, prepared, budget
        self.settings, self.effort, self.clock, self.reporter = settings, effort, clock, reporter
        self.start = clock.wall()
        spec = settings.run_spec
        task = prepared.task
        setup = Setup(settings.profiler, spec, task.spec)
        self.objectives = objectives_of(budget, task, setup.capabilities(clock), settings.profiler)
        wanted = {limit.metric for limit in budget.limits} | {metric.name for metric in self.objectives}
        note = check_zeros(prepared.space, wanted, setup.capabilities(clock), settings.profiler)
        if note:
            reporter.warn(note)
        self.timed = bool(wanted & COSTS.keys() - set(COUNTED))
        self.device = Device(
            setup, task.model, task.example_inputs, prepared.traced, settings.seed, clock, reporter, "memory" in wanted
        )

    def close(self) -> None:
        self.device.close()

    def run(self) -> Result:
        self._echo()
        task = self.prepared.task
        evaluator = self._evaluator()
        coordinator = self._coordinator()
        ended: BaseException | None = None
        began = self.clock.wall()
        try:
            self._drive(coordinator, evaluator)
            coordinator.check_hope()
        except (Exception, KeyboardInterrupt, Terminated) as reason:
            ended = reason
            self.reporter.warn("stopping; the front so far is being written (Ctrl-C to stop at once)")
        wall = self.clock.wall() - began
        overhead = _overhead(coordinator.trials, wall)
        self.directory.log(
            "searched", trials=len(coordinator.trials), seconds=round(wall, 3), overhead=round(overhead, 4)
        )
        coordinator.close()
        evaluator = replace(evaluator, dense={**evaluator.dense, **self.device.session.reference()})
        trials = tuple(evaluator.restated(trial) for trial in coordinator.trials)
        final = None
        if ended is None:
            try:
                final = self._finisher(evaluator).finish(trials)
            except (Exception, KeyboardInterrupt, Terminated) as reason:
                ended = reason
        if final is None:
            final = self._partial(trials, evaluator)
        result = self._written(final, trials, overhead, partial=ended is not None, name=task.name)
        if isinstance(ended, KeyboardInterrupt | Terminated):
            kind = InterruptedSearchError if isinstance(ended, KeyboardInterrupt) else StoppedEarlyError
            raise kind(
                expected="to search to the end",
                received=f"a signal to stop after {len(trials)} candidates",
                cure=f"the front so far, {len(result.front)} models, is in {self.directory.path}",
            ) from ended
        if ended is not None:
            raise ended
        return result

    def _finisher(self, evaluator: Evaluator) -> Finisher:
        return Finisher(
            replace(evaluator, budget=self.budget),
            self.objectives,
            self.effort,
            self.settings.seed,
            self.directory.model,
            self.directory.record,
            self.reporter,
        )

    def _echo(self) -> None:
        """What was understood, before any work is done, and the recipe."""
        for limit in self.budget.limits:
            self.reporter.note(f"budget: {limit.meaning()}")
        space = describe_space(self.prepared)
        self.reporter.note(
            f"search space: {len(space['levels'])} groups, {_power(space['plans'])} plans ({space['family']}); "
            f"run directory: {self.directory.path}"
        )
        recipe = _recipe(
            self.prepared, self.budget, [metric.name for metric in self.objectives], self.effort, self.settings
        )
        versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in _RECORDED}}
        self.directory.write_recipe({**recipe, "device_fingerprint": self.device.fingerprint, "versions": versions})

    def _evaluator(self) -> Evaluator:
        task = self.prepared.task
        dense = {**task.score(task.model, "search"), **self.device.open(), **counts(task.model, self.device.example)}
        readied = ready(
            task.model, self.prepared.traced, self.settings.criterion, self.settings.repair, self.clock, task
        )
        for note in (*readied.passes, *readied.notes):
            self.reporter.note(note)
        self.directory.write("ranking.safetensors", safetensors.torch.save(dict(readied.ranking)))
        costs = replace(self.budget, limits=tuple(limit for limit in self.budget.limits if limit.metric in COSTS))
        if costs.limits and all(excess <= 0 for excess in excesses(costs, dense, dense).values()):
            self.reporter.note("the dense model already meets the budget; looking for the best front below it")
        return Evaluator(
            task,
            self.prepared.traced,
            readied.ranking,
            self.device,
            costs,
            dense,
            self.clock,
            readied.repair,
            self.timed,
        )

    def _coordinator(self) -> Coordinator:
        chosen = self.settings.sampler
        sampler = (
            chosen
            if isinstance(chosen, BaseSampler)
            else registry.load("samplers", chosen).create(self.prepared.space, self.settings.seed)
        )
        storage = JournalStorage(self.directory.journal)
        return Coordinator(self.prepared.space, self.budget, self.objectives, sampler, storage, self.effort, self.clock)

    def _drive(self, coordinator: Coordinator, evaluator: Evaluator) -> None:
        drive = registry.load("executors", self.settings.executor).drive
        with self.reporter.track("searching", self.effort.trials) as advance:
            for trial in drive(coordinator.proposals(), evaluator):
                self.directory.record(trial, "search")
                if trial.error:
                    self.reporter.warn(f"trial {trial.number} failed: {trial.error}")
                coordinator.tell(trial)
                advance(self._news(coordinator.trials))

    def _news(self, trials: Sequence[Trial]) -> str:
        front = Front.of(trials, self.objectives)
        if front.best is None:
            return f"front {len(front.trials)}, nothing within the budget so far"
        shown = ", ".join(f"{m.name} {quantity.show(front.best.value(m.name), m.unit)}" for m in self.objectives)
        return f"front {len(front.trials)}, best {shown}"

    def _partial(self, trials: Sequence[Trial], evaluator: Evaluator) -> Finalised:
        """The front as it is, scored on the search split, its models repaired but not fine-tuned."""
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        judged = [replace(t, excesses=excesses(self.budget, t.measurements, evaluator.dense)) for t in complete]
        front = Front.of(judged, self.objectives)
        for trial in front.trials:
            save(trial, evaluator.cut(trial.plan), evaluator, self.directory.model(trial.number))
        return Finalised(front, evaluator.dense, {})

    def _written(
        self, final: Finalised, trials: Sequence[Trial], overhead: float, *, partial: bool, name: str
    ) -> Result:
        content = document(
            run=str(self.directory.path),
            task=name,
            seed=self.settings.seed,
            seconds=self.clock.wall() - self.start,
            profiler={
                "name": self.settings.profiler,
                "device": self.device.fingerprint,
                "threads": self.settings.threads,
                "batch": self.device.batch,
                "precision": self.settings.precision,
            },
            budget=self.budget,
            objectives=[metric.name for metric in self.objectives],
            trials=trials,
            dense=final.dense,
            front=final.front,
            test=final.test,
            partial=partial,
        )
        self.directory.write_front(content)
        self.directory.write("front.png", front_picture(name, trials, final.dense, final.front, self.budget))
        self.directory.log("finished", best=content["best"], partial=partial)
        points = {t.number: self._point(t) for t in final.front.trials}
        best = final.front.best
        return Result(
            self.directory.path,
            tuple(points.values()),
            None if best is None else points[best.number],
            content,
            overhead,
        )

    def _point(self, trial: Trial) -> Point:
        folder = self.directory.model(trial.number)
        return Point(trial.number, trial.feasible, trial.plan, trial.measurements, folder, self.prepared.task)


def _overhead(trials: Sequence[Trial], wall: float) -> float:
    """The share of wall time that was neither evaluation nor measurement."""
    busy = sum(trial.timing.evaluate + trial.timing.measure for trial in trials)
    return max(1 - busy / wall, 0.0) if wall > 0 else 0.0


def _power(plans: int) -> str:
    """A count that may be beyond any float."""
    return str(plans) if plans < 10_000 else f"about 10^{len(str(plans)) - 1}"


def _name_of(task: Task | str | Callable[[], Task]) -> str:
    """A folder's name for a task that may not be loaded yet."""
    if isinstance(task, Task):
        name = task.name
    elif isinstance(task, str):
        name = Path(task.rpartition(":")[0] or task).stem
    else:
        name = getattr(task, "__name__", "task")
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name) or "task"
