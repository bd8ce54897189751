"""`autoprune.search`: a new search in a new run directory. Knows what a user may pass; the engine does the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler

from autoprune import registry
from autoprune.core.address import HERE
from autoprune.core.budget import GUARANTEES, Budget
from autoprune.core.clock import SystemClock
from autoprune.core.defaults import CRITERION, EXECUTOR, PROFILER, REPAIR, SAMPLER
from autoprune.core.effort import Effort
from autoprune.core.quantity import seconds
from autoprune.core.reporter import Logged, Reporter
from autoprune.engine.engine import Engine
from autoprune.engine.prepare import check_zeros, make_task, objectives_of, prepare
from autoprune.engine.recipe import recipe
from autoprune.engine.result import Result
from autoprune.engine.settings import Settings
from autoprune.errors import UsageError
from autoprune.measure.devices import profilers, together
from autoprune.store.run import RunDirectory, next_free
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task


def search(
    task: Task | str | Callable[[], Task] = "digits",
    budget: Budget | str | Iterable[str] = (),
    *,
    guarantee: str = GUARANTEES[0],
    trials: int = Effort.trials,
    timeout: float | str | None = None,
    epochs: int = Effort.epochs,
    finalists: int = Effort.finalists,
    sampler: str | BaseSampler = SAMPLER,
    sampler_options: Mapping[str, str] | None = None,
    criterion: str = CRITERION,
    repair: str = REPAIR,
    space: str | None = None,
    profiler: str = "",
    device: str = HERE,
    on_device_loss: str = "wait",
    threads: int | None = None,
    batch: int = 0,
    precision: str = "float32",
    executor: str = EXECUTOR,
    workers: int = 0,
    address: str = "",
    gpus: float = 0.0,
    dashboard: bool = False,
    storage: str = "",
    deterministic: bool = False,
    run: str | PathLike[str] | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Result:
    """Search the pruned models of a task that no other candidate beats, and finish the best few under the budget.

    task: a Task, a name such as "digits" or "my_task.py:task", or an importable function that makes one; budget:
    `Budget`, or limits such as "latency=5ms"; guarantee: what latencies in seconds are held against, the device's
    "quiet" moments or its "worst" hours; trials, timeout (seconds, or "10m"): what the search for candidates
    may spend; sampler: a name, with `sampler_options`, or any Optuna sampler; epochs: fine-tuning of each of the at
    most `finalists` finished models; batch: whose latency counts, 0 for the task's own; criterion, repair: which
    slices go first, and how a cut model is repaired before it is scored; profiler, threads: by default the device's
    own, else torch on one; device: where it is measured, by a name that was given with `autoprune devices add`, or
    by an address (ssh://, http://, https://), while limits and objectives such as "latency@pi" name devices of
    their own; on_device_loss: "wait" where that does not answer, or "fail" the candidate and go on; precision: that
    the profiler computes in; executor: "inline", "ray" or "ray-tune", the latter two with `workers` candidates at a
    time on a cluster of this machine alone, or on that at `address` ("auto" or HOST:PORT), where `device` may name
    the node that measures and each worker holds `gpus`; storage: URL of a database for the study; deterministic:
    the same proposals whenever the search is interrupted; run: a new directory, by default the next free one under
    `runs/`; reporter: who is told of warnings and progress, by default the logger "autoprune".

    Ctrl-C ends the search with a partial front, and InterruptedSearchError once that is written; `resume` goes on.

    Raises:
        UsageError, BudgetInfeasibleError, TaskError, DeviceError, StorageError: see `autoprune.errors`.
    """
    reporter = reporter or Logged()
    limits = _limits(budget).guaranteed(guarantee)
    settings = Settings.settled(
        sampler=sampler,
        sampler_options=sampler_options or {},
        criterion=criterion,
        repair=repair,
        space=space,
        profiler=profiler,
        device=device,
        on_device_loss=on_device_loss,
        threads=threads,
        batch=batch,
        precision=precision,
        executor=executor,
        workers=workers,
        address=address,
        gpus=gpus,
        dashboard=dashboard,
        storage=storage,
        deterministic=deterministic,
        seed=seed,
    )
    limits = limits.without(device)
    effort = Effort(trials, seconds(timeout), epochs, finalists)
    clock = SystemClock()
    path = Path(run) if run is not None else next_free(Path("runs"), _name_of(task))
    directory = RunDirectory.create(path, clock)
    try:
        made = make_task(task, reporter)
        settings = _with_batch(settings, made, limits, reporter)
        engine = Engine(directory, prepare(made, space), limits, settings, effort, clock, reporter)
    except BaseException:
        directory.discard()
        raise
    try:
        with evaluating(made.model):
            return engine.run()
    finally:
        engine.close()
        directory.close()


def _with_batch(settings: Settings, task: Task, budget: Budget, reporter: Reporter) -> Settings:
    """The settings with the batch that a task chooses for this machine, where torch measures on it and nobody names
    one."""
    if settings.batch or task.choose_batch is None or (settings.device, settings.profiler) != (HERE, PROFILER):
        return settings
    if "" not in settings.setups(task.spec, budget.metrics):
        return settings
    return replace(settings, batch=task.choose_batch(settings.threads, reporter))


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


def preview(task: str, budget: Budget, effort: Effort, *, reporter: Reporter, **names: Any) -> dict[str, Any]:
    """What `search` would do, without evaluating a candidate or writing a file; raises what it would raise."""
    settings = Settings.settled(**names)
    budget = budget.without(settings.device)
    made = make_task(task, reporter)
    settings, prepared = _with_batch(settings, made, budget, reporter), prepare(made, settings.space)
    registry.load("executors", settings.executor).create(settings.cluster, settings.node, reporter).close()
    setups = settings.setups(prepared.task.spec, budget.metrics)
    capabilities = together({name: setup.capabilities(SystemClock()) for name, setup in setups.items()})
    objectives = objectives_of(budget, prepared.task, capabilities, profilers(setups))
    wanted = {*budget.metrics, *(metric.name for metric in objectives)}
    check_zeros(prepared.space, wanted, capabilities, profilers(setups))
    return recipe(prepared, budget, [metric.name for metric in objectives], effort, settings) | {
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
