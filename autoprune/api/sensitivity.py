"""`autoprune inspect --sensitivity`: each group cut alone, level by level: what it costs and what it saves."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.api.notebook import usual_reporter
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.proposal import Proposal
from autoprune.core.reporter import Reporter
from autoprune.core.sensitivity import Level, Sensitivities
from autoprune.core.trial import TrialState
from autoprune.deployment.as_run import as_run
from autoprune.deployment.device_spec import device_spec
from autoprune.engine.prepare import make_task, prepare
from autoprune.errors import UsageError
from autoprune.measure.counts import counts
from autoprune.measure.device import Device
from autoprune.measure.setup import Setup
from autoprune.options.defaults import CRITERION, PROFILER, REPAIR
from autoprune.recovery.calibrate import calibrate
from autoprune.search_spaces.space_config import Space
from autoprune.searching.candidate import Evaluator
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task


def sensitivity(
    task: Task | str,
    *,
    space: Space = None,
    freeze: Sequence[str] = (),
    only: Sequence[str] = (),
    levels: int = 4,
    criterion: str = CRITERION,
    repair: str = REPAIR,
    profiler: str = PROFILER,
    spec: RunSpec | None = None,
    reporter: Reporter | None = None,
) -> Sensitivities:
    """Cut each choice of the search space alone to some of its levels, repair, score, and measure.

    levels: how many of each, spread over its range; freeze, only: as in a search.

    Raises:
        UsageError: no levels, or a pattern that matches nothing. SurgeryError, DeviceError, TaskError: as in a search.
    """
    if levels < 1:
        raise UsageError(expected="at least one level a group", received=str(levels), cure="pass for example 4")
    reporter, clock = reporter or usual_reporter(), SystemClock()
    prepared = prepare(make_task(task, reporter), space, freeze=freeze, only=only, reporter=reporter)
    made, setup = prepared.task, Setup(profiler, spec or RunSpec(), prepared.task.spec)
    device = Device(device_spec(made, prepared.traced, setup, seed=0, clock=clock), reporter)
    try:
        with evaluating(made.model):
            opened = device.open()
            scored = made.score(as_run(CutModel(made.model), device), "search")
            dense = {**scored, **opened, **counts(made.model, device.example)}
            calibrated = calibrate(
                made.model, prepared.traced, criterion=criterion, repair=repair, clock=clock, task=made
            )
            evaluator = Evaluator(
                task=made,
                traced=prepared.traced,
                ranking=calibrated.ranking,
                device=device,
                budget=Budget(()),
                dense=dense,
                clock=clock,
                repair=calibrated.repair,
            )
            chosen = [(variable, level) for variable in prepared.space.variables for level in variable.spread(levels)]
            found = []
            whole = {variable.name: len(variable.levels) - 1 for variable in prepared.space.variables}
            with reporter.track("levels", len(chosen)) as advance:
                for number, (variable, level) in enumerate(chosen):
                    trial = evaluator(Proposal(number, prepared.space.plan({**whole, variable.name: level})))
                    complete = trial.state is TrialState.COMPLETE
                    measured = evaluator.restated([trial])[0].measurements if complete else {}
                    kept, size = sum(variable.levels[level]), sum(group.size for group in variable.groups)
                    found.append(
                        Level(
                            group=variable.name,
                            kind=variable.groups[0].kind,
                            kept=kept,
                            size=size,
                            measured=measured,
                            error=trial.error,
                        )
                    )
                    advance(variable.name)
    finally:
        device.close()
    return Sensitivities(made.name, made.quality.name, dense, tuple(found))
