"""`autoprune.resume` and `autoprune.finetune`: a run that was begun earlier. Knows what may change in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.cluster import Cluster
from autoprune.core.defaults import EXECUTOR
from autoprune.core.effort import Effort
from autoprune.core.quantity import seconds
from autoprune.core.reporter import Logged, Reporter
from autoprune.engine.engine import Engine
from autoprune.engine.prepare import make_task, prepare
from autoprune.engine.result import Result, read_result
from autoprune.engine.settings import Settings
from autoprune.errors import StorageError, UsageError, describe
from autoprune.store.run import RunDirectory
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

_TASK = "task"
_CLUSTER = tuple(item.name for item in fields(Cluster))


def resume(
    run: str | PathLike[str],
    *,
    task: Task | str | Callable[[], Task] | None = None,
    sampler: str | BaseSampler | None = None,
    trials: int | None = None,
    timeout: float | str | None = None,
    epochs: int | None = None,
    finalists: int | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Result:
    """Go on with a search where it was when it ended, however it ended; with all that is not passed as it was begun, or
    fine-tuned last.

    Candidates that were being evaluated are evaluated again, finished ones never; fine-tuning goes on from the last
    epoch. A timeout counts from now on; of the one that it was begun with, what is left. A run that has ended is
    returned as it is, unless more trials, or other epochs or finalists, are asked for.
    task, sampler: needed where those were objects of the program that began; settings: executor, workers, address,
    gpus, dashboard, storage and on_device_loss, as in `search`.

    Raises:
        StorageError: it is no run, or in use, damaged, or of another version; and all that `search` raises.
    """
    changes = {"trials": trials, "seconds": seconds(timeout), "epochs": epochs, "finalists": finalists}
    return _go_on(Path(run), task, sampler, changes, settings, reporter or Logged(), propose=True)


def finetune(
    run: str | PathLike[str],
    *,
    epochs: int,
    finalists: int | None = None,
    task: Task | str | Callable[[], Task] | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Result:
    """Choose and finish the best candidates of a run once more, with so many epochs; no new ones are proposed.

    task, settings: as in `resume`, and what that raises, this raises.
    """
    changes = {"epochs": epochs, "finalists": finalists}
    return _go_on(Path(run), task, None, changes, settings, reporter or Logged(), propose=False)


def _go_on(
    path: Path,
    task: Task | str | Callable[[], Task] | None,
    sampler: str | BaseSampler | None,
    changes: dict[str, Any],
    settings: dict[str, Any],
    reporter: Reporter,
    *,
    propose: bool,
) -> Result:
    clock = SystemClock()
    directory, recipe = RunDirectory.reopen(path, clock)
    try:
        began = _settings(recipe, sampler if propose else "random", settings)
        if changes.get("seconds") is not None:  # from now on
            changes = {**changes, "seconds": changes["seconds"] + directory.searched}
        effort = _effort(recipe, changes)
        if directory.ended and all(change is None for change in changes.values()):
            reporter.note("this search has ended; give it more --trials, or `autoprune finetune` it")
            return read_result(path, task if isinstance(task, Task) else None)
        made = make_task(task if task is not None else _task(recipe), reporter)
        limits = _budget(recipe)
        opened = prepare(made, began.space)
        engine = Engine(directory, opened, limits, began, effort, clock, reporter, recipe, propose=propose)
        try:
            with evaluating(made.model):
                return engine.run()
        finally:
            engine.close()
    finally:
        directory.close()


def _settings(recipe: dict[str, Any], sampler: str | BaseSampler | None, changes: dict[str, Any]) -> Settings:
    """Those of the recipe, with what may be changed changed."""
    legal = ("executor", *_CLUSTER, "storage", "on_device_loss")
    wrong = sorted(changes.keys() - set(legal))
    if wrong:
        raise UsageError(
            expected="what may change in a run that was begun",
            received=", ".join(wrong),
            cure=f"known: task, sampler, trials, timeout, epochs, finalists, {', '.join(legal)}",
        )
    named: dict[str, Any] = {item.name: recipe[item.name] for item in fields(Settings) if item.name in recipe}
    if changes.get("executor") == EXECUTOR:  # of a cluster it takes nothing
        named = {name: value for name, value in named.items() if name not in _CLUSTER}
    named |= {name: value for name, value in changes.items() if value is not None}
    if sampler is not None:
        if sampler != named.get("sampler"):  # options are those of the sampler that they were given to
            named["sampler_options"] = {}
        named["sampler"] = sampler
    elif named.get("sampler") not in registry.names("samplers"):
        raise UsageError(
            expected="the sampler that this run began with",
            received=f"its type, {named.get('sampler')}, as it was an object",
            cure="go on from Python with autoprune.resume(run, sampler=...)",
        )
    return Settings(**named)


def _budget(recipe: dict[str, Any]) -> Budget:
    try:
        return Budget.parse(*recipe["budget"], objectives=recipe["objectives"])
    except (KeyError, TypeError) as error:
        raise StorageError(
            expected="the budget of a search in run.yaml", received=describe(error), cure="restore the file"
        ) from error


def _effort(recipe: dict[str, Any], changes: dict[str, Any]) -> Effort:
    try:
        effort = Effort(**recipe["effort"])
    except (KeyError, TypeError) as error:
        raise StorageError(
            expected="the effort of a search in run.yaml", received=describe(error), cure="restore the file"
        ) from error
    return replace(effort, **{name: value for name, value in changes.items() if value is not None})


def _task(recipe: dict[str, Any]) -> str:
    name = str(recipe.get(_TASK, ""))
    if ":" in name or name in registry.names("tasks"):
        return name
    raise UsageError(
        expected="a task that this process can find by its name",
        received=f"'{name}', which was an object",
        cure="go on from Python with autoprune.resume(run, task=...)",
    )
