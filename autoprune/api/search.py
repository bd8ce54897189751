"""`autoprune.search`: a new search in a new run directory. Knows what a user may pass; the engine does the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoprune import registry
from autoprune.api.notebook import usual_reporter
from autoprune.core.address import HERE
from autoprune.core.budget import Budget
from autoprune.core.callbacks import Callbacks, EpochReport, FrontReport
from autoprune.core.clock import SystemClock
from autoprune.core.metric import COUNTED
from autoprune.core.preference import Preference
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.engine.engine import run_search
from autoprune.engine.given_plan import prepare_for
from autoprune.engine.job import SearchJob
from autoprune.engine.prepare import check_enough, check_zeros, make_task, objectives_of, timed
from autoprune.engine.recipe import recipe
from autoprune.engine.result import Result
from autoprune.engine.settings import Settings
from autoprune.errors import UsageError
from autoprune.measure.devices import profilers, together
from autoprune.options.defaults import PROFILER
from autoprune.options.described import every
from autoprune.options.keywords import checked, documented
from autoprune.options.search_options import SearchOptions
from autoprune.store.run import RunDirectory
from autoprune.tasks.task import Task
from autoprune.training.schedules import check_schedule


@documented()
def search(
    task: Task | str | Callable[[], Task] = "digits",
    budget: Budget | str | Iterable[str] = (),
    *,
    reporter: Reporter | None = None,
    on_trial: Callable[[Trial], Any] | None = None,
    on_epoch: Callable[[EpochReport], Any] | None = None,
    on_front: Callable[[FrontReport], Any] | None = None,
    **options: Any,
) -> Result:
    """Search the pruned models of a task that no other candidate beats, and finish the best few under the budget.

    Ctrl-C ends the search with a partial front, and InterruptedSearchError once that is written; `resume` goes on.

    Args:
        task: A Task, a name such as "digits" or "my_task.py:task", or an importable function that makes one.
        budget: A `Budget`, or limits such as "latency=5ms".
        reporter: Who is told of warnings and progress; default: the logger "autoprune".
        on_trial: Called with each candidate as it was evaluated: its plan, its measurements, or why it failed.
        on_epoch: Called after each epoch of fine-tuning, with its plan, loss and scores.
        on_front: Called after each candidate, with the front as it is by then. What a callback raises is reported, and
            the search goes on.
        **options: See `SearchOptions`.

    `plans` may also be `Plan`s, or counts or ratios by group; `sampler` any Optuna sampler for several objectives;
    `timeout` and `deadline` numbers of seconds; `space` a `SpaceConfig`.

    Returns:
        The front, the best model, and the run directory that has both.

    Raises:
        UsageError: an option that does not exist, or outside of its range.
        BudgetInfeasibleError: not even the smallest model is within the budget.
        TaskError: the model or the task cannot be used.
        DeviceError: the device cannot be used, or was lost.
        StorageError: something could not be kept or read.

    Example:
        >>> result = autoprune.search("my_task.py:task", ["latency=5ms", "accuracy>=-1%"], trials=64)  # doctest: +SKIP
        >>> model = result.best.load()  # doctest: +SKIP
    """
    reporter = reporter or usual_reporter()
    callbacks = Callbacks(on_trial, on_epoch, on_front, reporter)
    asked = SearchOptions(**checked(options, every(), "options of a search"))
    limits = _limits(budget).guaranteed(asked.guarantee)
    settings = Settings.settled(asked)
    limits = limits.without(settings.device)
    clock = SystemClock()
    directory = (
        RunDirectory.create_next(Path("runs"), _name_of(task), clock)
        if settings.run is None
        else RunDirectory.create(Path(settings.run), clock)
    )
    try:
        try:
            made = make_task(task, reporter)
            limits = limits.read_for(made.metrics)
            settings = _with_batch(settings, made, limits, reporter)
            prepared, settings = prepare_for(made, settings, reporter)
        except BaseException:
            directory.discard()
            raise
        job = SearchJob(
            directory=directory,
            prepared=prepared,
            budget=limits,
            settings=settings,
            clock=clock,
            reporter=reporter,
            callbacks=callbacks,
        )
        return run_search(job)
    finally:
        directory.close()


def _with_batch(settings: Settings, task: Task, budget: Budget, reporter: Reporter) -> Settings:
    """The settings with the batch that a task chooses for this machine, where torch measures on it and nobody names
    one."""
    if settings.batch or task.choose_batch is None or (settings.device, settings.profiler) != (HERE, PROFILER):
        return settings
    if all(source.device for source in settings.setups(task.spec, budget.metrics)):
        return settings
    return replace(settings, batch=task.choose_batch(settings.run_spec.threads, reporter))


def _limits(budget: object) -> Budget:
    if isinstance(budget, Budget):
        return budget
    given = [budget] if isinstance(budget, str) else budget
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise UsageError(
            expected="a Budget, or limits as text",
            received=type(budget).__name__,
            cure='pass budget="latency=5ms", or a list of such',
        )
    return Budget.parse(*given)


def preview(task: str, budget: Budget, *, reporter: Reporter, **options: Any) -> dict[str, Any]:
    """What `search` would do, without evaluating a candidate or writing a file; raises what it would raise."""
    settings = Settings.settled(SearchOptions(**checked(options, every(), "options of a search")))
    budget = budget.guaranteed(settings.guarantee).without(settings.device)
    made = make_task(task, reporter)
    budget = budget.read_for(made.metrics)
    settings = _with_batch(settings, made, budget, reporter)
    prepared, settings = prepare_for(made, settings, reporter)
    registry.load("executors", settings.executor).create(settings.cluster, settings.node, reporter).close()
    setups = settings.setups(prepared.task.spec, budget.metrics)
    capabilities = together({name: setup.capabilities(SystemClock()) for name, setup in setups.items()})
    objectives = objectives_of(budget, prepared.task, capabilities, profilers(setups))
    wanted = {*budget.metrics, *(metric.name for metric in objectives)}
    check_zeros(prepared.space, wanted, capabilities, profilers(setups))
    check_schedule(settings.training, prepared.space.groups)
    Preference(settings.prefer).check(metric.name for metric in objectives)
    check_enough(settings.enough, (*COUNTED, *(capabilities.metrics if timed(wanted) else ())), prepared.task)
    return recipe(prepared, budget, [metric.name for metric in objectives], settings) | {
        "meaning": [limit.meaning() for limit in budget.limits]
    }


def _name_of(task: Task | str | Callable[[], Task]) -> str:
    """A folder's name for a task that may not be loaded yet."""
    if isinstance(task, Task):
        name = task.name
    elif isinstance(task, str):
        name = Path(task.rpartition(":")[0] or task).stem
    else:
        name = getattr(task, "__name__", "task")
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name) or "task"
