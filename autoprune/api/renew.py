"""`autoprune.renew` and `autoprune.renewal_due`: a finished model made anew for new weights or new data. Knows what of
the old run is asked again; `engine.renewal` has the rules."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from autoprune import registry
from autoprune.api.search import search
from autoprune.core.budget import Budget
from autoprune.core.callbacks import EpochReport
from autoprune.core.effort import Effort
from autoprune.core.plan import Plan
from autoprune.core.reporter import Logged, Reporter
from autoprune.core.trial import Trial
from autoprune.engine.paired import paired
from autoprune.engine.prepare import make_task
from autoprune.engine.renewal import (
    SPLIT,
    Due,
    OldModel,
    Renewed,
    judged_better,
    judged_due,
    keep_renewal,
    next_version,
    version_of,
)
from autoprune.models.folder import read
from autoprune.options.defaults import SAMPLER
from autoprune.options.described import recorded, renewable
from autoprune.options.keywords import checked, documented
from autoprune.store.reading import read_front, read_recipe
from autoprune.tasks.task import Task


def renewal_due(
    run: str | PathLike[str], task: Task | str | Callable[[], Task], *, reporter: Reporter | None = None
) -> Due:
    """Whether the best model of a run is to be renewed for a task; nothing is made.

    It is due where the 95 % interval of how far it is behind the task's dense model, paired on the validation split,
    begins beyond what that was when it was made; or where the interval of its score ends below that of its score then.

    Args:
        run: The run directory.
        task: With new data, with a dense model of the same architecture that has new weights, or with both.
        reporter: As in `search`.

    Returns:
        The answer, the reason in one line, and the numbers.

    Raises:
        StorageError: no finished run, or its model is of another architecture.
        TaskError: the task cannot score.
    """
    made = make_task(task, reporter or Logged())
    return judged_due(OldModel.of(Path(run), made.quality.name), made)


@documented(*renewable(), optional=True)
def renew(
    run: str | PathLike[str],
    task: Task | str | Callable[[], Task],
    *,
    into: str | PathLike[str] | None = None,
    reporter: Reporter | None = None,
    on_trial: Callable[[Trial], Any] | None = None,
    on_epoch: Callable[[EpochReport], Any] | None = None,
    **options: Any,
) -> Renewed:
    """Make the best model of a run anew for a task: the same plan is cut from its dense model, repaired, fine-tuned and
    measured; and with more trials than one, a search begins with the plans of the old front. Then both models are
    compared on the task's validation split, paired.

    The new run says in `renewal.json` what it renewed; nothing of the old one changes. Budget, objectives and what is
    not passed are as in the old run.

    Args:
        run: The run directory.
        task: As in `renewal_due`.
        into: A new run directory; default: the next version beside the old run, such as `digits-1-v2`.
        reporter: As in `search`.
        on_trial: As in `search`.
        on_epoch: As in `search`.
        **options: See `SearchOptions`; `trials` is 1 by default.

    Returns:
        The new run, whether it was due, how both compare, and which is to be taken.

    Raises:
        StorageError: as `renewal_due`.
        UsageError: the plan is none of the task's model; and all that `search` raises.

    Example:
        >>> renewed = autoprune.renew("runs/digits-1", "new_data.py:task")  # doctest: +SKIP
        >>> renewed.better, renewed.said, renewed.result.best.load()  # doctest: +SKIP
    """
    said = reporter or Logged()
    known = checked(options, renewable(), "options of a renewal")
    given = {name: value for name, value in known.items() if value is not None}
    made, path = make_task(task, said), Path(run)
    old, version = OldModel.of(path, made.quality.name), version_of(path) + 1
    due = judged_due(old, made)
    said.note(f"a renewal is {'' if due.due else 'not '}due: {due.said}")
    asked = {**_as_before(path, given.get("trials")), **given}
    result = search(
        made,
        _budget(path),
        reporter=said,
        on_trial=on_trial,
        on_epoch=on_epoch,
        run=next_version(path) if into is None else into,
        plans=_plans(path, old, asked["trials"]),
        **asked,
    )
    compared = None if result.best is None else paired(made, SPLIT, old.on(made), result.best.load())
    better, why = judged_better(compared)
    renewed = Renewed(result=result, version=version, due=due, compared=compared, better=better, said=why)
    keep_renewal(renewed, old)
    return renewed


def _as_before(run: Path, trials: int | None) -> dict[str, Any]:
    """The options of a run; where its plan alone is made again, nobody proposes others."""
    recipe = read_recipe(run)
    found = {name: recipe[name] for name in recorded() if name in recipe and name in renewable()}
    effort = Effort(**recipe["effort"])
    if trials in (None, 1):
        found |= {"trials": 1, "finalists": 1, "sampler": "random", "sampler_options": {}}
    else:
        found |= {"finalists": effort.finalists}
        if recipe.get("sampler") not in registry.names("samplers"):  # it was an object
            found |= {"sampler": SAMPLER, "sampler_options": {}}
    return {**found, "storage": "", "finetune_epochs": effort.epochs}


def _budget(run: Path) -> Budget:
    recipe = read_recipe(run)
    return Budget.parse(*recipe["budget"], objectives=recipe["objectives"])


def _plans(run: Path, old: OldModel, trials: int) -> list[Plan]:
    """The plan of the best model, and those of the others of the front as far as so many trials reach."""
    others = [read((run / point["model"]).parent)[0].plan for point in read_front(run)["front"]]
    return [old.record.plan, *(plan for plan in others if plan != old.record.plan)][:trials]
