"""A search's plans of the user's own: opened with the task. Knows settings; not the forms of a plan."""

from __future__ import annotations

from dataclasses import replace

from autoprune.core import precision
from autoprune.core.given_plan import given_plan
from autoprune.core.plan import Plan
from autoprune.core.reporter import Reporter
from autoprune.engine.prepare import Prepared, prepare
from autoprune.engine.settings import Settings
from autoprune.errors import UsageError
from autoprune.tasks.task import Task


def prepare_for(task: Task, settings: Settings, reporter: Reporter | None = None) -> tuple[Prepared, Settings]:
    """The task, traced and opened, with levels for the plans that are to be evaluated first; the settings, which name
    these by counts.

    Raises:
        SurgeryError: as `prepare`.
        UsageError: as `prepare`, and of a plan that is none, or that the model or the search space does not allow.
    """
    prepared = prepare(task, settings.space, freeze=settings.freeze, only=settings.only, reporter=reporter)
    if len(settings.precisions) > 1:
        prepared = replace(prepared, space=prepared.space.with_precisions())
    if not settings.plans:
        return prepared, settings
    if not isinstance(settings.plans, list | tuple):
        raise UsageError(expected="plans as a list", received=type(settings.plans).__name__, cure="write plans=[...]")
    choosing = len(settings.precisions) > 1
    groups = (*prepared.traced.groups, *([precision.GROUP] if choosing else []))
    sizes = {group.name: group.size for group in groups}
    given = [precision.counted(each) if choosing and isinstance(each, Plan) else each for each in settings.plans]
    cuts = [{name: count for name, count in given_plan(each, groups).keep if count != sizes[name]} for each in given]
    space = prepared.space.including(map(Plan.of, cuts))
    counts = [{**space.dense().kept, **cut} for cut in cuts]
    return replace(prepared, space=space), replace(settings, plans=counts)
