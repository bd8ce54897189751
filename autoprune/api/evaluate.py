"""`autoprune.evaluate`: a plan that somebody gives, scored and timed as in a search. Knows no other plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.api.notebook import usual_reporter
from autoprune.core.address import HERE
from autoprune.core.budget import Budget
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.given_plan import GivenPlan, given_plan
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Source
from autoprune.core.plan import Plan
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial, TrialState
from autoprune.deployment.as_run import as_run
from autoprune.deployment.device_spec import device_spec
from autoprune.engine.known_device import found
from autoprune.engine.prepare import Prepared, make_task, prepare
from autoprune.engine.settings import Settings
from autoprune.finishing.saving import save
from autoprune.measure.counts import counts
from autoprune.measure.device import Device
from autoprune.options.described import evaluable
from autoprune.options.keywords import checked, documented
from autoprune.options.search_options import SearchOptions
from autoprune.recovery.calibrate import calibrate
from autoprune.searching.candidate import Evaluator
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What `evaluate` returns.

    Attributes:
        plan: What was kept of each group that it names.
        measurements: Of the cut and repaired model by key, such as "accuracy" and "latency".
        dense: The same of the dense model.
        cut: The model with its slices.
        task: Whose model was cut.
        traced: Its groups.
    """

    plan: Plan
    measurements: Mapping[str, Measurement]
    dense: Mapping[str, Measurement]
    cut: CutModel = field(repr=False)
    task: Task = field(repr=False)
    traced: Traced = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The cut and repaired model, in eval mode."""
        return self.cut.model

    def save(self, folder: str | PathLike[str]) -> None:
        """Write plan, weights and a card; `autoprune.load` rebuilds the model from them.

        Raises:
            StorageError: the folder cannot be written.
        """
        trial = Trial(0, self.plan, TrialState.COMPLETE, self.measurements)
        save(trial, self.cut, self.task, self.traced, Path(folder))


@documented(*evaluable())
def evaluate(
    task: Task | str | Callable[[], Task],
    plan: GivenPlan,
    *,
    split: str = "search",
    reporter: Reporter | None = None,
    **options: Any,
) -> Evaluated:
    """Cut a task's model by one plan, repair it as a search does, score it and time it beside the dense one.

    Args:
        task: As in `search`.
        plan: A `Plan`; by group a ratio in (0, 1] (a float) or a count (an int); or a JSON file of these, such as the
            `plan.json` of a finished model.
        split: Whose score is told: that of candidates, or "validation" or "test".
        reporter: As in `search`.
        **options: See `SearchOptions`.

    Returns:
        The measurements of both models, and the cut one.

    Raises:
        UsageError: a plan that the groups cannot obey, or an option that does not exist.
        TaskError: the model cannot be cut so, or not scored.
        DeviceError: it cannot be measured.

    Example:
        >>> found = autoprune.evaluate("my_task.py:task", {"stem": 12, "body": 0.5})  # doctest: +SKIP
        >>> found.measurements["accuracy"].value, found.measurements["latency"].value  # doctest: +SKIP
    """
    reporter, clock = reporter or usual_reporter(), SystemClock()
    settings = Settings.settled(SearchOptions(**checked(options, evaluable(), "options of an evaluation")))
    if settings.node != HERE:
        found(settings.device)  # nobody knows it
    made = make_task(task, reporter)
    prepared = prepare(made, settings.space)
    chosen = given_plan(plan, prepared.traced.groups)
    setup = settings.setups(made.spec, ())[Source()]
    device = Device(device_spec(made, prepared.traced, setup, seed=settings.seed, clock=clock), reporter)
    try:
        with evaluating(made.model), reporter.track("evaluating the plan", 3) as advance:
            opened = device.open()
            scored = made.score(as_run(CutModel(made.model), device), split)
            dense = {**scored, **opened, **counts(made.model, device.example)}
            advance("the dense model is measured")
            evaluator = _evaluator(prepared, settings, device, dense, clock)
            cut = evaluator.cut(chosen)
            advance("cut and repaired")
            scored = evaluator.scores(cut, split)
            (measured,) = device.restated([device.measure(cut, {})])
            advance("")
            known = {**dense, **device.reference()}
            return Evaluated(
                plan=chosen,
                measurements={**scored, **measured, **counts(cut.model, device.example)},
                dense=known,
                cut=cut,
                task=made,
                traced=prepared.traced,
            )
    finally:
        device.close()


def _evaluator(
    prepared: Prepared, settings: Settings, device: Device, dense: Mapping[str, Measurement], clock: Clock
) -> Evaluator:
    task, traced = prepared.task, prepared.traced
    calibrated = calibrate(
        task.model, traced, criterion=settings.criterion, repair=settings.repair, clock=clock, task=task
    )
    return Evaluator(
        task=task,
        traced=traced,
        ranking=calibrated.ranking,
        device=device,
        budget=Budget(()),
        dense=dense,
        clock=clock,
        repair=calibrated.repair,
    )
