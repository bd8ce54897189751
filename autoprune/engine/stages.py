"""The stages of a search before its finalists, one function each. Knows what each needs; not their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from autoprune.core.budget import Budget
from autoprune.core.floor import idle
from autoprune.core.forecast import Forecast
from autoprune.core.goal import SearchGoal
from autoprune.core.judgement import excesses, judged
from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.core.proposal import contested
from autoprune.core.rivals import Rivals
from autoprune.core.trial import Trial, TrialState
from autoprune.engine.dense_as_run import dense_as_run
from autoprune.engine.job import SearchJob
from autoprune.engine.prepare import fingerprint
from autoprune.engine.recipe import installed, recipe, understood
from autoprune.engine.resources import Resources
from autoprune.engine.run_artifacts import (
    begun_with,
    keep_forecast,
    keep_ranking,
    keep_subject,
    kept_forecast,
    kept_ranking,
)
from autoprune.engine.same_data import check_same_data, check_same_scores
from autoprune.engine.settings import able
from autoprune.engine.timetable import Pace, Timetable
from autoprune.errors import UsageError
from autoprune.finetuning.teacher import trained
from autoprune.finishing.pacing import FinishingTime
from autoprune.measure.counts import counts
from autoprune.options.defaults import PLAIN_SAMPLER, SAMPLER
from autoprune.recovery.calibrate import WITHOUT, calibrate
from autoprune.samplers import ModelAccess, SamplerContext, may_screen, seed_count
from autoprune.searching.candidate import Evaluator
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.enough import Enough
from autoprune.searching.forecasting import check_reach, foresee, goal_of
from autoprune.searching.progress import Progress
from autoprune.searching.screen import Screen
from autoprune.surgery import twin
from autoprune.surrogate.initial_plans import initial_plans

#: What a run goes on with that is fine-tuned meanwhile, which proposes nothing.
_SAMPLER: Final = ("sampler", "sampler_options")
#: Seconds after which no group more is cut alone, unless the search is to be repeatable; of a shorter time for the
#: whole forecast, the part for that.
_ABLATING_S: Final = 60.0
_ABLATIONS: Final = 2 / 3
#: Models that are cut to tell what plans cost, beside one a variable; the keep ratio of one that takes as long as most.
_CUT: Final = 25
_MIDDLING: Final = 0.5


def announce(job: SearchJob, resources: Resources) -> None:
    """Say what was understood, before any work is done, and write the recipe."""
    for text in understood(job.prepared, job.budget):
        job.reporter.note(text)
    job.reporter.note(f"run directory: {job.directory.path}")
    names, versions = [metric.name for metric in resources.objectives], installed()
    began: Mapping[str, Any] = job.began or {}
    if not _same_model(job):
        job.reporter.warn("the dense model's weights are not those that the run began with: scores do not compare")
    job.directory.write_recipe(
        {
            **recipe(job.prepared, job.budget, names, job.settings),
            **({} if job.propose else {name: began[name] for name in _SAMPLER if name in began}),
            "study": resources.study_name,
            "window": _window(job, resources),
            "model": began.get("model") or fingerprint(job.prepared.task.model),
            "device_fingerprint": began.get("device_fingerprint", resources.device.fingerprint),
            "versions": versions,
        }
    )
    keep_subject(job.directory, job.prepared)
    job.directory.log("began" if job.new else "resumed", versions=versions)


def _same_model(job: SearchJob) -> bool:
    """Whether the dense model is the one that the run began with, as far as that is known."""
    before = (job.began or {}).get("model")
    return not before or before == fingerprint(job.prepared.task.model)


def timetable(job: SearchJob, resources: Resources) -> Timetable:
    """What each stage may take."""
    certify_s = max(setup.limits.certify_s for setup in resources.setups.values())
    return Timetable(effort=job.settings.effort, deadline=job.deadline, pace=job.pace, certify_s=certify_s)


def finishing_time(job: SearchJob, resources: Resources) -> FinishingTime:
    """What finishing may take, from now."""
    times = timetable(job, resources)
    return FinishingTime(
        training=times.training.within(job.settings.training.seconds),
        measuring=times.measuring,
        scoring=job.pace.scoring,
        opening=job.pace.opening,
        workers=resources.executor.workers,
    )


def open_evaluator(job: SearchJob, resources: Resources) -> tuple[SearchJob, Evaluator]:
    """Look at the dense model on the device and on the data, and rank its slices; the job knows its pace by then."""
    task, traced, settings = job.prepared.task, job.prepared.traced, job.settings
    ranked = None if job.new else kept_ranking(job.directory)
    learns = bool(settings.effort.epochs) and trained(task, settings.training)
    check_same_data(job.directory, task, job.reporter, new=job.new, trained=learns)
    with job.directory.stage("opening"):
        opened: Mapping[str, Measurement] = {}
        begun = job.clock.wall()
        if resources.timed:
            # Not beside other work: threads that wait for each other on taken processors lose more than is gained.
            with job.reporter.track("opening the device", 1) as advance:
                opened = resources.device.open()
                advance("")
        looked = job.clock.wall()
        with job.reporter.track("scoring the dense model", 1) as advance:
            shown = dense_as_run(task, resources.device, job.budget, job.reporter)
            advance("")
        if not job.new and _same_model(job):
            check_same_scores(job.directory, task, shown.model, shown.scores, job.reporter)
        job = replace(job, pace=Pace(opening=looked - begun, scoring=job.clock.wall() - looked))
    with job.directory.stage("ranking"):
        about = (settings.criterion, settings.repair, job.clock, task, ranked, job.reporter)
        calibrated = calibrate(task.model, traced, *about)
    for note in (*calibrated.passes, *calibrated.notes):
        job.reporter.note(note)
    keep_ranking(job.directory, calibrated.ranking)
    dense = {**shown.scores, **opened, **counts(task.model, resources.device.example)}
    for text in idle(job.budget.limits, task.metrics, {name: found.value for name, found in shown.scores.items()}):
        job.reporter.warn(text)
    costs = replace(job.budget, limits=tuple(limit for limit in job.budget.limits if limit.is_cost))
    if costs.limits and all(excess <= 0 for excess in excesses(costs, dense, dense).values()):
        job.reporter.note("the dense model already meets the budget; looking for the best front below it")
    return job, Evaluator(
        task=task,
        traced=traced,
        ranking=calibrated.ranking,
        device=resources.device,
        budget=costs,
        dense=dense,
        clock=job.clock,
        repair=calibrated.repair,
        timed=resources.timed,
        guarded=settings.repair == WITHOUT,
        as_run=shown.as_run,
    )


def set_goal(job: SearchJob, resources: Resources, evaluator: Evaluator, *, new: bool) -> SearchGoal:
    """What the search is after, as it was when the run began."""
    dense = begun_with(job.directory, evaluator.dense, new=new)
    return goal_of(job.budget, resources.objectives, dense, job.proxy_metric)


def make_forecast(job: SearchJob, resources: Resources, evaluator: Evaluator, goal: SearchGoal) -> Forecast | None:
    """What the sampler asks to know before it proposes; as an earlier process found it, if one did."""
    if not (job.propose and job.settings.wants_forecast):
        return None
    kept = None if job.new else kept_forecast(job.directory)
    if kept is not None:
        return kept
    limited = [limit.metric for limit in job.budget.limits]
    may_take = math.inf if job.settings.deterministic else timetable(job, resources).forecast_s
    with job.directory.stage("forecast"):
        check_reach(job.prepared.space, evaluator, resources.executor)
        if job.settings.sampler == SAMPLER and _pricing_s(job, evaluator, may_take) > may_take:
            return None
        about = (resources.executor, job.settings.seed, job.reporter)
        limit_s = math.inf if job.settings.deterministic else min(_ABLATING_S, _ABLATIONS * may_take)
        found = foresee(job.prepared.space, goal, evaluator, limited, *about, limit_s)
    keep_forecast(job.directory, found)
    job.directory.log("forecast", took=round(found.seconds, 2))
    return found


def _pricing_s(job: SearchJob, evaluator: Evaluator, may_take: float) -> float:
    """Seconds that it takes to tell what plans cost, where that matters: many models are cut and taken apart for it."""
    if math.isinf(may_take):
        return 0.0
    start = job.clock.wall()
    counts(evaluator.bare(job.prepared.space.uniform(_MIDDLING)).model, evaluator.device.example)
    return (job.clock.wall() - start) * (len(job.prepared.space.variables) + _CUT)


def able_sampler(job: SearchJob, goal: SearchGoal) -> SearchJob:
    """The job, with another sampler where the default one cannot tell what to trade for what."""
    if not (job.propose and job.settings.wants_forecast):
        return job
    return replace(job, settings=able(job.settings, goal, job.reporter))


def hurried_sampler(job: SearchJob, forecast: Forecast | None) -> SearchJob:
    """The job, with another sampler where there was no time for the forecast that the default one needs."""
    if forecast is not None or not (job.propose and job.settings.wants_forecast):
        return job
    job.reporter.note(f"no time to look ahead: the sampler is '{PLAIN_SAMPLER}'")
    return replace(job, settings=replace(job.settings, sampler=PLAIN_SAMPLER))


def coordinate(
    job: SearchJob, resources: Resources, evaluator: Evaluator, goal: SearchGoal, forecast: Forecast | None
) -> Coordinator:
    """Who asks and tells, with all that earlier processes left."""
    study, settings, space = resources.study, job.settings, job.prepared.space
    context = SamplerContext(
        space=space,
        seed=settings.seed,
        goal=goal,
        forecast=forecast,
        options=settings.options,
        deterministic=settings.deterministic,
        access=_access(job, evaluator),
    )
    study.use(settings.made_sampler(context, resources.told))
    learns = trained(job.prepared.task, settings.training)
    effort = timetable(job, resources).candidates(job.directory.searched, trained=learns)
    if not job.propose:  # what was being evaluated is still finished
        evaluated = [t for t in study.restored.finished if t.state is not TrialState.SCREENED]
        effort = replace(effort, trials=max(len(evaluated), 1))
    first: list[Plan] = []
    if forecast is not None and (count := seed_count(settings.sampler_module, settings.options)):
        first = [space.at(levels) for levels in initial_plans(forecast, goal, space, settings.seed, count)]
    screens = forecast is not None and may_screen(settings.sampler_module)
    coordinator = Coordinator(
        study=study,
        space=space,
        budget=job.budget,
        effort=effort,
        clock=job.clock,
        window=_window(job, resources),
        given=[space.at(space.places(Plan.of(kept))) for kept in settings.plans],
        seeds=first,
        screen=Screen(forecast, goal, space).reason if forecast is not None and screens else None,
        dismissed=lambda trial: job.directory.record(trial, "search"),
        spent=job.directory.searched,
    )
    if not job.new:
        told = job.directory.recorded()
        for trial in (*coordinator.trials, *coordinator.screened):
            if trial.number not in told:
                job.directory.record(trial, "search")
        known, left = len(coordinator.trials), len(study.restored.running)
        job.reporter.note(f"resumed: {known} candidates are known, {left} were being evaluated")
    return coordinator


def explore(
    job: SearchJob, resources: Resources, coordinator: Coordinator, evaluator: Evaluator, goal: SearchGoal
) -> None:
    """Evaluate candidates until the effort is spent."""
    # Not in a repeatable search: the next plan is asked for before the last one is known.
    if resources.timed and not job.settings.deterministic and resources.executor.workers == 1:
        evaluator = evaluator.overlapping(job.prepared.space.smallest(), job.reporter)
    effort, known = replace(job.settings.effort, seconds=coordinator.seconds), coordinator.trials
    progress = Progress(goal, effort, job.clock, resources.executor.workers)
    limits = Budget(job.settings.enough).read_for(job.prepared.task.metrics).limits
    enough = Enough(limits, job.budget, evaluator, coordinator, job.reporter)
    for trial in known:
        enough.told(trial)
    progress.resume([judged(trial, job.budget, evaluator.dense) for trial in known], job.directory.searched)
    job.directory.log("searching")
    with job.reporter.track("searching", effort.trials, len(known)) as advance:
        # In a repeatable search, what others happen to know by then does not count.
        rivals = None if job.settings.deterministic else Rivals.of(known, goal)

        def told(trial: Trial) -> None:
            nonlocal rivals
            for taken in coordinator.tell(trial):
                job.directory.record(taken, "search")
                rivals = rivals and rivals.joined_by(taken)
                if taken.error:
                    job.reporter.warn(f"trial {taken.number} failed: {taken.error}")
                enough.told(taken)
                whole = judged(taken, job.budget, evaluator.dense)
                state = progress.add(whole, resources.executor.busy)
                job.directory.log("trial", **_told(whole), **state)
                advance(progress.line(state))
                job.callbacks.trial(whole)
                job.callbacks.front(progress.front())

        for trial in coordinator.evaluated:
            told(trial)
        for trial in resources.executor.drive(contested(coordinator.proposals(), lambda: rivals), evaluator):
            told(trial)
    coordinator.check_hope()
    if coordinator.exhausted:
        job.reporter.note(f"the sampler knows nothing new after {len(coordinator.trials)} candidates")


def _told(trial: Trial) -> dict[str, Any]:
    """A trial in a line of the log."""
    return {
        "trial": trial.number,
        "state": str(trial.state),
        "feasible": trial.feasible,
        "plan": trial.plan.kept,
        **trial.plan.beside,
        "metrics": {key: found.value for key, found in trial.measurements.items()},
    }


def _access(job: SearchJob, evaluator: Evaluator) -> ModelAccess:
    """What a sampler may see of the task."""
    task, loss = job.prepared.task, job.prepared.task.loss

    def learned(split: str) -> Iterable[Any]:
        """Samplers learn from no sample on which a candidate or a finalist is judged."""
        if split not in ("train", "calibration"):
            raise UsageError(expected="train or calibration", received=repr(split), cure="learn from one of them")
        return task.batches(split)

    scored = None if loss is None else lambda model, batch: loss(task.forward(model, batch), batch)
    return ModelAccess(
        model=lambda: twin(task.model, meta=False)[0],
        traced=job.prepared.traced,
        batches=learned,
        loss=scored,
        ranking=evaluator.ranking,
    )


def _window(job: SearchJob, resources: Resources) -> int:
    """How many plans are out at a time in a repeatable search: as many as when it began, whatever does the work."""
    kept = int((job.began or {}).get("window") or resources.executor.workers)
    return kept if job.settings.deterministic else 0
