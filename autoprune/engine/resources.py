"""What a search holds open: its executor, its devices, its study. Knows how each is opened; closes the last first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from autoprune import registry
from autoprune.core.address import HERE
from autoprune.core.metric import COUNTED, Metric, Source
from autoprune.core.preference import Preference
from autoprune.cost_model.cost_forecast import costs
from autoprune.deployment.device_spec import device_spec
from autoprune.engine.job import SearchJob
from autoprune.engine.prepare import check_enough, check_zeros, objectives_of, timed
from autoprune.errors import DeviceError
from autoprune.executors import Executor
from autoprune.finetuning.check import check_training
from autoprune.finetuning.penalty import check_regularizer
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.devices import profilers, several, together
from autoprune.measure.setup import Setup
from autoprune.options.defaults import REGULARIZER
from autoprune.searching.study import Study, trials_told
from autoprune.store.ledger import Ledger, open_ledger
from autoprune.tasks.task import SPLITS
from autoprune.training.gating import check_gates
from autoprune.training.schedules import check_schedule


@dataclass(frozen=True, kw_only=True)
class Resources:
    """All that is open while a search runs.

    Attributes:
        executor: Evaluates candidates.
        setups: How models are measured, by what the measurements are of.
        devices: Where they are measured, by the same.
        device: All of them as one.
        objectives: What is traded off.
        timed: Whether candidates are measured on a device.
        ledger: Keeps the study.
        study_name: Of the study in it.
        study: Of candidates.
        told: Trials that earlier processes told.
    """

    executor: Executor
    setups: Mapping[Source, Setup]
    devices: Mapping[Source, AnyDevice]
    device: AnyDevice
    objectives: tuple[Metric, ...]
    timed: bool
    ledger: Ledger
    study_name: str
    study: Study
    told: int


@contextmanager
def open_resources(job: SearchJob) -> Iterator[Resources]:
    """Open what a job needs; whatever ends it, all is closed.

    Raises:
        AutopruneError: something cannot be opened, or does not go with what the job asks for.
    """
    settings, task, reporter = job.settings, job.prepared.task, job.reporter
    for name in (*SPLITS[1:], *(["train"] if settings.effort.epochs and not settings.finetune_steps else [])):
        task.split(name).measure(job.clock, reporter)
    if settings.effort.epochs:
        check_training(task, settings.training, job.prepared.traced)
    check_schedule(settings.training, job.prepared.space.groups)
    if settings.effort.epochs:
        check_gates(settings.training, task, job.prepared.traced)
    if settings.regularizer != REGULARIZER:
        check_regularizer(settings.training, task, job.prepared.traced)
    setups = {
        source: replace(setup, limits=setup.limits.within(job.deadline.left))
        for source, setup in settings.setups(task.spec, job.budget.metrics).items()
    }
    names, preference = profilers(setups), Preference(settings.prefer)
    with ExitStack() as closing:
        executor: Executor = registry.load("executors", settings.executor).create(
            settings.cluster, settings.node, reporter
        )
        closing.callback(executor.close)
        if settings.device == HERE and not any(source.device for source in setups):
            # What cannot be must be said before anything is started.
            able = together({source: setup.capabilities(job.clock) for source, setup in setups.items()})
            known = objectives_of(job.budget, task, able, names)
            preference.check(metric.name for metric in known)
        devices: dict[Source, AnyDevice] = {}
        for source, setup in setups.items():
            devices[source] = executor.open_device(
                device_spec(task, job.prepared.traced, setup, seed=settings.seed, clock=job.clock, forecast=costs)
            )
            closing.callback(devices[source].close)
        device = several(devices, setups)
        objectives = objectives_of(job.budget, task, device.capabilities, names)
        wanted = {*job.budget.metrics, *(metric.name for metric in objectives)}
        preference.check(metric.name for metric in objectives)
        if note := check_zeros(job.prepared.space, wanted, device.capabilities, names):
            reporter.warn(note)
        # What is scored is what runs, so where that is no float32 it must be known how it runs.
        runs = timed(wanted) or not all(setup.in_float32 for setup in setups.values())
        check_enough(settings.enough, (*COUNTED, *(device.capabilities.metrics if runs else ())), task)
        for each in job.directory.notes:
            reporter.warn(each)
        ledger = open_ledger(job.directory.path, settings.storage, new=job.new)
        closing.callback(ledger.close)
        if ledger.torn:
            reporter.warn(f"the study's journal was cut off in the middle of a write; {ledger.torn} bytes dropped")
        study_name = str((job.began or {}).get("study") or _study_name(job))
        if runs:
            _check_same_device(job, device)
        told = 0 if job.new else trials_told(ledger, study_name)
        study = Study(ledger, study_name, job.prepared.space, objectives, new=job.new, proxy_metric=job.proxy_metric)
        yield Resources(
            executor=executor,
            setups=setups,
            devices=devices,
            device=device,
            objectives=objectives,
            timed=runs,
            ledger=ledger,
            study_name=study_name,
            study=study,
            told=told,
        )


def _study_name(job: SearchJob) -> str:
    """What a new study is called: after the run; in a database, where others may be called so, with a number."""
    name = job.directory.path.resolve().name
    return f"{name}-{secrets.token_hex(4)}" if job.settings.storage else name


def _check_same_device(job: SearchJob, device: AnyDevice) -> None:
    """Raise DeviceError where candidates were timed on another device than this one."""
    before = (job.began or {}).get("device_fingerprint", device.fingerprint)
    if before != device.fingerprint:
        raise DeviceError(
            expected=f"the device that the run was begun on, {before}",
            received=device.fingerprint,
            cure="go on there, or search anew: latencies of two devices do not compare",
        )
