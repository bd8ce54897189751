"""Several finished models as one that adapts: settled by a policy, written, opened again, measured as one model. Knows
the order, and when a bundle is not worth having; `deployment` has what a bundle is, `policies` how it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import nn

from autoprune import registry
from autoprune.core.clock import Clock
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.metric import LATENCY, Metric
from autoprune.core.reporter import Reporter
from autoprune.deployment.bundle import Bundle, Served
from autoprune.deployment.bundle_folder import WORST_CASE, Bundled, BundledModel, write
from autoprune.deployment.bundle_members import Chosen, Members
from autoprune.deployment.bundle_opening import open_bundle
from autoprune.deployment.bundle_settling import Settling
from autoprune.deployment.bundle_times import RequestTimer, share, statistics
from autoprune.deployment.export import check_new
from autoprune.deployment.requests import requests_of
from autoprune.deployment.timing import bench_here
from autoprune.errors import BudgetInfeasibleError
from autoprune.measure import limits
from autoprune.measure.estimator import Interval, chained
from autoprune.models.nested import Nested, Weights, nested
from autoprune.models.rebuild import assemble
from autoprune.models.weights import loaded, shapes_of
from autoprune.policies import Member, options_of
from autoprune.store.files import partial_folder
from autoprune.surgery.example import Example
from autoprune.surgery.find import find
from autoprune.tasks.task import Task, batch_size, rebatch

_MEASURED: Final = "validation"
_PROFILER: Final = "torch"
_MEAN: Final = f"{LATENCY}.mean"


@dataclass(frozen=True)
class _Rebuilt:
    """A model with where it came from."""

    chosen: Chosen
    model: nn.Module
    member: Member


def bundle(
    members: Members,
    policy: str,
    options: Mapping[str, str],
    task: Task,
    output: Path | None,
    reporter: Reporter,
    *,
    threads: int,
    clock: Clock,
) -> Bundled:
    """Make a bundle in a new folder; nothing is left there where that fails.

    Args:
        members: What is put together.
        policy: Which decides.
        options: Of the policy.
        task: That all members were made from.
        output: The folder; None for one of the policy's name where bundles of these models lie.
        reporter: Told of progress.
        threads: Of the processor; 0 for those of the run.
        clock: Tells seconds.

    Raises:
        UsageError: no such policy or option, or the folder is there.
        BudgetInfeasibleError: no members with which the policy can do what it is asked to.
        DeviceError: a member does not run.
    """
    given = options_of(policy, options)
    folder = output or members.place / policy
    check_new(folder)
    usual = members.usual
    spec = RunSpec(threads or usual.get("threads", 1), usual.get("batch", 0), usual.get("precision", "float32"))
    timer, profiler = _timer(usual.get("name", _PROFILER), spec, clock, reporter)
    example = rebatch(task.example, spec.batch)
    try:
        rebuilt = _rebuilt(members.models, task, example, timer, reporter)
        settling = Settling(
            policy=policy,
            models=[each.model for each in rebuilt],
            members=[each.member for each in rebuilt],
            task=task,
            size=batch_size(example),
            timer=timer,
            clock=clock,
            reporter=reporter,
        )
        settled = settling.settled(given)
        used = [rebuilt[place] for place in settled.places]
        weights = _nested(used, task)
        whole = Bundled(
            folder=folder,
            task=task.spec,
            policy=policy,
            settings=settled.settings,
            told=settled.told,
            members=tuple(_bundled(each, 0.0, {}) for each in used),
            measurements={},
            stored=weights.stored,
            apart=weights.apart,
            profiler=profiler,
            precision=spec.precision,
            threads=spec.threads,
            requests=0,
            notes=_elsewhere(usual.get("device", ""), timer.bench.fingerprint()),
        )
        with partial_folder(folder) as partial:
            write(whole, weights.content, weights.to_json(), partial)
            opened = open_bundle(partial, task.model, task.confidence, clock)
            whole = _measured(
                whole,
                opened,
                used=used,
                rival=None if settled.rival is None else rebuilt[settled.rival],
                task=task,
                size=batch_size(example),
                timer=timer,
                clock=clock,
                reporter=reporter,
            )
            write(whole, weights.content, weights.to_json(), partial)
    finally:
        timer.bench.close()
    return whole


def _timer(name: str, spec: RunSpec, clock: Clock, reporter: Reporter) -> tuple[RequestTimer, str]:
    """Where modules are run as their run did, or by torch where that took files."""
    profiler = registry.load("profilers", name).create(spec, clock)
    if profiler.capabilities().format != "module":
        profiler.close()
        reporter.note(f"measured by '{_PROFILER}', as '{name}' runs files, of which a bundle has none")
        name, profiler = _PROFILER, registry.load("profilers", _PROFILER).create(spec, clock)
    single = profiler.capabilities().cpu_time and spec.threads == 1
    return RequestTimer(bench_here(profiler, spec, clock), single), name


def _rebuilt(
    models: Sequence[Chosen], task: Task, example: Example, timer: RequestTimer, reporter: Reporter
) -> list[_Rebuilt]:
    """Models, the fastest first."""
    made = {
        each.name: assemble(
            each.record, each.weights, dense=task.model, example=task.example, folder=each.folder, reporter=reporter
        )
        for each in models
    }
    known = {each.name: each for each in models}
    found = [_Rebuilt(known[each.name], made[each.name], each) for each in timer.members(made, example)]
    if all(str(LATENCY) in each.measured for each in models):
        found = [replace(each, member=_certified(each)) for each in found]
    return sorted(found, key=lambda each: each.member.seconds)


def _certified(rebuilt: _Rebuilt) -> Member:
    """The member as its run measured it, in fresh processes; shorter requests and late ones in proportion."""
    member, seconds = rebuilt.member, rebuilt.chosen.measured[str(LATENCY)].value
    times = seconds / member.seconds
    return replace(
        member, seconds=seconds, late=times * member.late, parts=tuple(times * part for part in member.parts)
    )


def _nested(used: Sequence[_Rebuilt], task: Task) -> Nested:
    traced = find(task.model, task.example)
    weights = []
    for each in used:
        shapes = shapes_of(each.chosen.form.built(task.model, str(each.chosen.folder)))
        slices = {name: torch.tensor(kept) for name, kept in each.chosen.record.slices.items()}
        weights.append(Weights(loaded(each.chosen.weights, shapes, str(each.chosen.folder)), slices))
    return nested(weights, traced)


def _measured(
    whole: Bundled,
    opened: Bundle,
    used: Sequence[_Rebuilt],
    rival: _Rebuilt | None,
    task: Task,
    size: int,
    timer: RequestTimer,
    clock: Clock,
    reporter: Reporter,
) -> Bundled:
    """With qualities and times of the validation split, of the bundle and of each member.

    Raises:
        BudgetInfeasibleError: it is to be faster than a rival, and that or a member of its own is as good and as fast.
    """
    scores = task.score(Served(opened, size), _MEASURED)
    shares = [count / opened.samples for count in opened.answered]
    models = {each.chosen.name: each.model for each in (*used, *([] if rival is None else [rival]))}
    alone = {name: task.score(model, _MEASURED) for name, model in models.items()}
    calls = requests_of(task, used[-1].model, _MEASURED, size)
    with reporter.track("measuring requests", len(calls)) as advance:
        own, others = timer.served(opened, models, calls, clock, advance, limits.USUAL.certify_s)
    told = {"device": timer.bench.fingerprint(), "profiler": whole.profiler}
    measured = {**scores, **statistics(own, **told)}
    each_alone = {name: {**alone[name], **statistics(seconds, **told)} for name, seconds in others.items()}
    if rival is not None:
        _check_faster(measured, each_alone, task.quality, rival.chosen.name)
    members = tuple(_bundled(each, part, each_alone[each.chosen.name]) for each, part in zip(used, shares, strict=True))
    largest = used[-1].chosen
    if (certified := largest.measured.get(str(LATENCY))) is not None:
        ratio = chained(share(own, others[largest.name]), Interval(certified.value, certified.low, certified.high))
        note = f"the mean over requests, by its ratio to that of {largest.name}"
        expected = replace(certified, value=ratio.value, low=ratio.low, high=ratio.high, n=len(own), note=note)
        measured[str(LATENCY)] = expected
    found = replace(whole, members=members, measurements=measured, requests=len(own))
    return replace(found, notes=(WORST_CASE, *whole.notes, *_doubts(found, task.quality)))


def _bundled(rebuilt: _Rebuilt, part: float, measured: Mapping[str, Measurement]) -> BundledModel:
    chosen = rebuilt.chosen
    return BundledModel(
        member=rebuilt.member, plan=chosen.record.plan, form=chosen.form, share=part, measurements=measured
    )


def _elsewhere(run: str, here: str) -> tuple[str, ...]:
    """Said where the run measured on another device."""
    return () if run in ("", here) else (f"measured on {here}, and its members' latency on the front on {run}",)


def _doubts(found: Bundled, quality: Metric) -> list[str]:
    """What was seen on the validation split that speaks against the bundle."""
    largest = found.members[-1]
    own, other = (measured[quality.name].value for measured in (found.measurements, largest.measurements))
    if _sign(quality) * own >= _sign(quality) * other:
        return []
    return [f"{quality.name} is {own:.4f} on the validation split, that of {largest.member.name} alone {other:.4f}"]


def _check_faster(
    own: Mapping[str, Measurement], alone: Mapping[str, Mapping[str, Measurement]], quality: Metric, rival: str
) -> None:
    """Raise BudgetInfeasibleError where the rival, or a model that is no worse on the validation split, takes no
    longer in the mean. alone: of each model."""
    sign, score, mean = _sign(quality), own[quality.name].value, own[_MEAN].value
    for name, measured in alone.items():
        beside, seconds = measured[quality.name].value, measured[_MEAN].value
        if seconds <= mean and (name == rival or sign * beside >= sign * score):
            raise BudgetInfeasibleError(
                expected=f"a bundle that is faster in the mean than {name} alone",
                received=f"{1e3 * mean:.3g} ms a request on the validation split, {quality.name} {score:.4f}, and "
                f"{1e3 * seconds:.3g} ms, {quality.name} {beside:.4f}",
                cure=f"deploy {name}, allow some loss, such as --policy-option drop=0.01, or choose other --members",
            )


def _sign(quality: Metric) -> int:
    return -1 if quality.lower_is_better else 1
