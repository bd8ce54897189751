"""`autoprune.resume` and `autoprune.finetune`: a run that was begun earlier. Knows what may change in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, Final

from optuna.samplers import BaseSampler

from autoprune import registry
from autoprune.api.notebook import usual_reporter
from autoprune.core.budget import Budget
from autoprune.core.callbacks import Callbacks, EpochReport, FrontReport
from autoprune.core.clock import SystemClock
from autoprune.core.cluster import Cluster
from autoprune.core.effort import MOST_EPOCHS, Effort
from autoprune.core.quantity import seconds
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.engine.engine import run_search
from autoprune.engine.given_plan import prepare_for
from autoprune.engine.job import SearchJob
from autoprune.engine.prepare import make_task
from autoprune.engine.result import Result, read_result
from autoprune.engine.settings import Settings
from autoprune.errors import StorageError, UsageError, describe
from autoprune.options.defaults import EXECUTOR
from autoprune.options.described import TRAINING, finetunable, recorded, resumable
from autoprune.options.keywords import checked, documented
from autoprune.store.reading import read_front
from autoprune.store.run import RunDirectory
from autoprune.tasks.task import Task

_TASK = "task"
#: What `run.yaml` says of what may be spent, by the names of options.
_EFFORT: Final = {
    "trials": "trials",
    "seconds": "timeout",
    "epochs": "finetune_epochs",
    "finalists": "finalists",
    "deadline": "deadline",
}
_CLUSTER = tuple(item.name for item in fields(Cluster))


@documented(*resumable(), optional=True)
def resume(
    run: str | PathLike[str],
    *,
    task: Task | str | Callable[[], Task] | None = None,
    sampler: str | BaseSampler | None = None,
    reporter: Reporter | None = None,
    on_trial: Callable[[Trial], Any] | None = None,
    on_epoch: Callable[[EpochReport], Any] | None = None,
    on_front: Callable[[FrontReport], Any] | None = None,
    **options: Any,
) -> Result:
    """Go on with a search where it was when it ended, however it ended; what is not passed is as it was begun, or
    fine-tuned last.

    Candidates that were being evaluated are evaluated again, finished ones never; fine-tuning goes on from the last
    epoch. A timeout or a deadline counts from now on; of the one that it was begun with, what is left. A run that has
    ended is returned as it is, unless more candidates than it has, or other epochs or finalists, are asked for.

    Args:
        run: The run directory.
        task: Needed where it was an object of the program that began.
        sampler: Needed where it was an object; otherwise another one for what is left.
        reporter: As in `search`.
        on_trial: As in `search`, for candidates that are evaluated from now on.
        on_epoch: As in `search`.
        on_front: As in `search`.
        **options: See `SearchOptions`.

    Returns:
        As `search`.

    Raises:
        StorageError: it is no run, or in use, damaged, or of another version; and all that `search` raises.
    """
    changes = checked(options, resumable(), "what may change in a run that was begun")
    said = reporter or usual_reporter()
    return _go_on(
        Path(run),
        task,
        sampler=sampler,
        options=changes,
        callbacks=Callbacks(on_trial, on_epoch, on_front, said),
        reporter=said,
        propose=True,
    )


@documented(*finetunable(), optional=True)
def finetune(
    run: str | PathLike[str],
    *,
    task: Task | str | Callable[[], Task] | None = None,
    reporter: Reporter | None = None,
    on_epoch: Callable[[EpochReport], Any] | None = None,
    **options: Any,
) -> Result:
    """Choose and finish the best candidates of a run once more; no new ones are proposed.

    Args:
        run: The run directory.
        task: As in `resume`.
        reporter: As in `search`.
        on_epoch: As in `search`.
        **options: See `SearchOptions`.

    Returns:
        As `search`.

    Raises:
        UsageError: neither `finetune_epochs` nor `finetune_time`, and all that `resume` raises.
    """
    changes = checked(options, finetunable(), "what fine-tuning may change")
    if changes.get("finetune_epochs") is None and changes.get("finetune_time") is None:
        cure = "say how many epochs, or how long it may take"
        raise UsageError(expected="finetune_epochs or finetune_time", received="neither", cure=cure)
    said = reporter or usual_reporter()
    return _go_on(
        Path(run),
        task,
        sampler=None,
        options=changes,
        callbacks=Callbacks(None, on_epoch, None, said),
        reporter=said,
        propose=False,
    )


def _go_on(
    path: Path,
    task: Task | str | Callable[[], Task] | None,
    sampler: str | BaseSampler | None,
    options: Mapping[str, Any],
    callbacks: Callbacks,
    reporter: Reporter,
    *,
    propose: bool,
) -> Result:
    clock = SystemClock()
    changes = {name: value for name, value in options.items() if value is not None}
    directory, recipe = RunDirectory.reopen(path, clock)
    try:
        for name, passed in (("timeout", directory.searched), ("deadline", directory.seconds)):
            if changes.get(name) is not None:  # from now on
                changes[name] = (seconds(changes[name]) or 0.0) + passed
        if not propose:  # another length is asked for than the search had
            changes = {"deadline": None, "finetune_time": None} | changes
        if changes.get("finetune_time") is not None:
            changes.setdefault("finetune_epochs", MOST_EPOCHS)
        settings = _settings(recipe, sampler if propose else "random", changes)
        if propose and directory.ended and not _asks_more(settings, recipe, changes, path):
            reporter.note("this search has ended; give it more --trials, or `autoprune finetune` it")
            return read_result(path, task if isinstance(task, Task) else None)
        made = make_task(task if task is not None else _task(recipe), reporter)
        prepared, settings = prepare_for(made, settings, reporter)
        job = SearchJob(
            directory=directory,
            prepared=prepared,
            budget=_budget(recipe).read_for(made.metrics),
            settings=settings,
            clock=clock,
            reporter=reporter,
            callbacks=callbacks,
            began=recipe,
            propose=propose,
        )
        return run_search(job)
    finally:
        directory.close()


def _asks_more(settings: Settings, recipe: dict[str, Any], changes: Mapping[str, Any], path: Path) -> bool:
    """Whether a search that has ended is asked for what it did not do: more candidates, or to finish others."""
    before, now = Effort(**recipe["effort"]), settings.effort
    if (now.epochs, now.finalists) != (before.epochs, before.finalists) or changes.keys() & {*TRAINING}:
        return True
    counted = read_front(path)["trials"]
    known = counted["complete"] + counted["failed"]
    return now.trials > known and bool(changes.keys() & {"trials", "timeout", "deadline", "until"})


def _settings(recipe: dict[str, Any], sampler: str | BaseSampler | None, changes: Mapping[str, Any]) -> Settings:
    """Those of the recipe, with what may be changed changed."""
    named: dict[str, Any] = {name: recipe[name] for name in recorded() if name in recipe}
    if changes.get("executor") == EXECUTOR:  # of a cluster it takes nothing
        named = {name: value for name, value in named.items() if name not in _CLUSTER}
    asked = {**changes, **({} if sampler is None else {"sampler": sampler})}
    for kind in ("sampler", "schedule", "regularizer"):
        if asked.get(kind) not in (None, named.get(kind)):  # options are those of the plug-in that they were given to
            named[f"{kind}_options"] = {}
    if sampler is not None:
        named["sampler"] = sampler
    elif named.get("sampler") not in registry.names("samplers"):
        raise UsageError(
            expected="the sampler that this run began with",
            received=f"its type, {named.get('sampler')}, as it was an object",
            cure="go on from Python with autoprune.resume(run, sampler=...)",
        )
    return Settings(**{**named, **_effort(recipe), **changes})


def _budget(recipe: dict[str, Any]) -> Budget:
    try:
        return Budget.parse(*recipe["budget"], objectives=recipe["objectives"])
    except (KeyError, TypeError) as error:
        raise StorageError(
            expected="the budget of a search in run.yaml", received=describe(error), cure="restore the file"
        ) from error


def _effort(recipe: dict[str, Any]) -> dict[str, Any]:
    """What could be spent, by the names of options."""
    try:
        effort = Effort(**recipe["effort"])
    except (KeyError, TypeError) as error:
        raise StorageError(
            expected="the effort of a search in run.yaml", received=describe(error), cure="restore the file"
        ) from error
    return {name: getattr(effort, item) for item, name in _EFFORT.items()}


def _task(recipe: dict[str, Any]) -> str:
    name = str(recipe.get(_TASK, ""))
    if ":" in name or name in registry.names("tasks"):
        return name
    raise UsageError(
        expected="a task that this process can find by its name",
        received=f"'{name}', which was an object",
        cure="go on from Python with autoprune.resume(run, task=...)",
    )
