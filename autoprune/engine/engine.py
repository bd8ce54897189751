"""One search in its run directory, from its first look to its written front. Knows the order of its stages, and how it
may end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from autoprune.core.deadline import Countdown
from autoprune.core.effort import Effort
from autoprune.core.front import Front
from autoprune.core.goal import SearchGoal
from autoprune.core.judgement import judged
from autoprune.core.preference import Preference
from autoprune.core.quantity import spell
from autoprune.core.trial import Trial
from autoprune.engine import stages
from autoprune.engine.job import SearchJob
from autoprune.engine.resources import Resources, open_resources
from autoprune.engine.result import Result, read_result
from autoprune.engine.tracking import Tracking, tracked
from autoprune.engine.written import written
from autoprune.errors import (
    BudgetInfeasibleError,
    DeviceError,
    StorageError,
    TaskError,
    Terminated,
    UsageError,
    describe,
    stopped,
)
from autoprune.finishing.bracket_choice import BracketChoice
from autoprune.finishing.choice import Choice
from autoprune.finishing.finisher import FinishedSearch, Finisher
from autoprune.finishing.saving import save
from autoprune.finishing.tuning import Tuning
from autoprune.finishing.tuning_study import TuningStudy
from autoprune.measure.devices import described
from autoprune.options.described import TRAINING
from autoprune.options.search_options import SearchOptions
from autoprune.searching.candidate import Evaluator
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.progress import overhead_of
from autoprune.surgery.modes import evaluating

#: Beyond a deadline by so much, a search says so.
_OVER: Final = 1.1


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a search has come to.

    Attributes:
        evaluator: With the dense model as it is known by now.
        trials: Every plan that was evaluated.
        screened: Every plan that was dismissed.
        fresh: How many of them this process evaluated.
        overhead: The share of the workers' time that was neither evaluation nor measurement.
        reason: Why it ended early; None where it did not.
        final: The finished models; None where it did not come to them.
        tuning: The study of their fine-tuning.
    """

    evaluator: Evaluator
    trials: tuple[Trial, ...]
    screened: tuple[Trial, ...]
    fresh: int
    overhead: float
    reason: BaseException | None = None
    final: FinishedSearch | None = None
    tuning: TuningStudy | None = None


def run_search(job: SearchJob) -> Result:
    """Run a job to its end; or to a partial front, and then the reason for it is raised.

    A new run that cannot be opened leaves no directory.
    """
    if job.deadline.limited:
        job = replace(job, reporter=Countdown(job.reporter, job.deadline))
    with tracked(job) as tracking, ExitStack() as closing:
        try:
            resources = closing.enter_context(open_resources(job))
        except BaseException:
            if job.new:
                job.directory.discard()
            raise
        with evaluating(job.prepared.task.model):
            stages.announce(job, resources)
            job, evaluator, goal, coordinator = _get_ready(job, resources, tracking)
            ending = _explored(job, resources, coordinator, evaluator, goal)
            if ending.reason is None and not ending.fresh and _finished_alike(job):
                return _stands(job)
            ending = _restated(job, resources, ending)
            ending = _finished(job, resources, ending)
            return _concluded(job, resources, ending)


def _get_ready(
    job: SearchJob, resources: Resources, tracking: Tracking
) -> tuple[SearchJob, Evaluator, SearchGoal, Coordinator]:
    """All that is done before the first candidate is evaluated."""
    try:
        job, evaluator = stages.open_evaluator(job, resources)
        goal = stages.set_goal(job, resources, evaluator, new=job.new)
        job = stages.able_sampler(job, goal)
        forecast = stages.make_forecast(job, resources, evaluator, goal)
        job = stages.hurried_sampler(job, forecast)
        if job.new and forecast is not None and resources.timed:
            # The forecast looked at the device at other moments, too: what is quiet is known better by now.
            evaluator = replace(evaluator, dense={**evaluator.dense, **resources.device.reference()})
            goal = stages.set_goal(job, resources, evaluator, new=True)
        coordinator = stages.coordinate(job, resources, evaluator, goal, forecast)
        tracking.open()  # not before, as until here a search may be refused
    except (KeyboardInterrupt, Terminated) as reason:
        _stop(job, reason, "no candidate was being evaluated", len(resources.study.restored.finished))
    except (UsageError, TaskError, BudgetInfeasibleError):
        if job.new:  # nothing has happened: the same command, mended, is to be taken
            resources.study.remove()
            job.directory.discard()
        raise
    return job, evaluator, goal, coordinator


def _explored(
    job: SearchJob, resources: Resources, coordinator: Coordinator, evaluator: Evaluator, goal: SearchGoal
) -> Ending:
    """Candidates evaluated, as far as it came."""
    known, began = len(coordinator.trials), job.clock.wall()
    ended: BaseException | None = None
    try:
        stages.explore(job, resources, coordinator, evaluator, goal)
    except (Exception, KeyboardInterrupt, Terminated) as reason:
        ended = reason
        job.reporter.warn("stopping; what is known is being written (Ctrl-C to stop at once)")
        with suppress(StorageError):  # what cannot be written any more is not the news
            coordinator.release()
    fresh = coordinator.trials[known:]
    overhead = overhead_of(fresh, job.clock.wall() - began, resources.executor.workers)
    told = round(overhead, 4) if math.isfinite(overhead) else None
    job.directory.log("searched", trials=len(coordinator.trials), overhead=told)
    return Ending(
        evaluator=evaluator,
        trials=coordinator.trials,
        screened=coordinator.screened,
        fresh=len(fresh),
        overhead=overhead,
        reason=ended,
    )


def _finished_alike(job: SearchJob) -> bool:
    """Whether the run has ended, and would be finished as it was."""
    if not (job.propose and job.directory.ended):
        return False
    now, began = job.settings, job.began or {}
    before = Effort(**began["effort"])
    same = all(began.get(name, getattr(SearchOptions(), name)) == getattr(now, name) for name in TRAINING)
    return same and (now.effort.epochs, now.effort.finalists) == (before.epochs, before.finalists)


def _stands(job: SearchJob) -> Result:
    """The result that the run had, as nothing new was found."""
    job.reporter.note("nothing new was found: the finished front that this run had stands")
    result = read_result(job.directory.path, job.prepared.task)
    job.directory.log("finished", best=result.document["best"], partial=False)
    return result


def _restated(job: SearchJob, resources: Resources, ending: Ending) -> Ending:
    """Latencies as they read with what is known of the dense model by now."""
    evaluator = ending.evaluator
    if not resources.timed:
        return ending
    try:
        evaluator = replace(evaluator, dense={**evaluator.dense, **resources.device.reference()})
        return replace(ending, evaluator=evaluator, trials=tuple(evaluator.restated(ending.trials)))
    except Exception as error:  # the device is gone; what was measured stands as it was told
        if ending.reason is not None:
            job.reporter.warn(f"latencies are left as they were told: {describe(error)}")
        return replace(ending, reason=ending.reason or error, evaluator=evaluator)


def _finished(job: SearchJob, resources: Resources, ending: Ending) -> Ending:
    """The best few fine-tuned and measured again, unless the search has ended early."""
    if ending.reason is not None:
        return ending
    try:
        tuning = TuningStudy(resources.ledger, resources.study_name, job.prepared.task.quality)
        finisher = _finisher(job, resources, replace(ending.evaluator, budget=job.budget), tuning)
        with job.directory.stage("finishing"):
            final = finisher.finish(ending.trials)
    except (Exception, KeyboardInterrupt, Terminated) as reason:
        return replace(ending, reason=reason)
    with suppress(DeviceError):  # how long was waited is no reason to lose what was finished
        job.directory.move("finishing", "waiting", resources.device.waited())
    return replace(ending, final=final, tuning=tuning)


def _finisher(job: SearchJob, resources: Resources, evaluator: Evaluator, tuning: TuningStudy) -> Finisher:
    """Who takes the trials to the end. evaluator: with the whole budget."""
    settings, directory, time = job.settings, job.directory, stages.finishing_time(job, resources)
    choice = Choice(evaluator=evaluator, objectives=resources.objectives, effort=settings.effort, reporter=job.reporter)
    brackets = BracketChoice(
        choice=choice, training=settings.training, seed=settings.seed, study=tuning, directory=directory, time=time
    )
    return Finisher(
        evaluator=evaluator,
        objectives=resources.objectives,
        preference=Preference(settings.prefer),
        tuning=Tuning(brackets=brackets, finetune=resources.executor.finetune, callbacks=job.callbacks),
        directory=directory,
        reporter=job.reporter,
        time=time,
    )


def _concluded(job: SearchJob, resources: Resources, ending: Ending) -> Result:
    """The front, written; the reason is raised where the search ended early."""
    reason, directory, evaluator = ending.reason, job.directory, ending.evaluator
    if reason is not None and directory.finished:  # never a worse front in its place
        job.reporter.warn("the finished front that this run had stands")
        _stop(job, reason, "the finished front that it had stands", len(ending.trials))
    try:
        counted = [judged(trial, job.budget, evaluator.dense) for trial in (*ending.trials, *ending.screened)]
        result = written(
            directory,
            task=job.prepared.task,
            seed=job.settings.seed,
            devices={str(each): described(setup, resources.devices[each]) for each, setup in resources.setups.items()},
            budget=job.budget,
            objectives=resources.objectives,
            prefer=job.settings.prefer,
            trials=counted,
            final=ending.final or _partial(job, resources, counted, evaluator),
            overhead=ending.overhead,
            partial=reason is not None,
            # A search that was cut short is so also when what it found was fine-tuned.
            short=reason is not None or not (job.propose or directory.ended),
            reporter=job.reporter,
        )
    except Exception as error:
        if reason is None:
            raise
        job.reporter.warn(f"the front so far could not be written: {describe(error)}")
        raise reason from None
    if reason is not None:
        _stop(job, reason, f"the front so far has {len(result.front)} models", len(ending.trials))
    if ending.tuning is not None:
        ending.tuning.close()
    limit = job.settings.effort.deadline
    if limit is not None and directory.seconds > _OVER * limit:
        job.reporter.warn(
            f"all took {spell(directory.seconds)} and not {spell(limit)}: looking at the model and measuring "
            "what was found take that long at least"
        )
    directory.forget_checkpoints()
    return result


def _partial(job: SearchJob, resources: Resources, trials: Sequence[Trial], evaluator: Evaluator) -> FinishedSearch:
    """The front as it is, scored on the search split, its models repaired but not fine-tuned."""
    choose = Preference(job.settings.prefer).chooser(resources.objectives, evaluator.dense)
    front = Front.of(trials, resources.objectives, choose)
    for trial in front.trials:
        save(trial, evaluator.cut(trial.plan), evaluator.task, evaluator.traced, job.directory.model(trial.number))
    return FinishedSearch(front, evaluator.dense, {})


def _stop(job: SearchJob, reason: BaseException, front: str, trials: int) -> NoReturn:
    """Raise why a search ended early; of a signal, with what became of the search."""
    if not isinstance(reason, KeyboardInterrupt | Terminated):
        raise reason
    raise stopped(reason, front, trials, str(job.directory.path)) from reason
