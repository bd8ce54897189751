"""Artifacts that are held against a budget: a finished model as torch has it, or an exported one in its runtime. Knows
how each is measured and scored; not limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import nn

from autoprune.bench.bench import AnyBench
from autoprune.core.address import HERE, DeviceAddress
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import QUANTISED, Measurement, RunSpec
from autoprune.core.reporter import Reporter
from autoprune.deployment import card as cards
from autoprune.deployment.card import Exported
from autoprune.deployment.export import format_of
from autoprune.deployment.opening import opened
from autoprune.deployment.timing import bench_here, measured
from autoprune.engine.known_device import found
from autoprune.engine.prepare import make_task
from autoprune.engine.result import model_folder
from autoprune.errors import StorageError, UsageError
from autoprune.measure.costs import costs_of
from autoprune.measure.setup import Setup
from autoprune.models.folder import PLAN, read
from autoprune.models.rebuild import assemble, task_of
from autoprune.tasks.locate import is_registered
from autoprune.tasks.task import Task, batch_size, rebatch

#: What runs a finished model that does not say it.
_PROFILER: Final = "torch"


@dataclass(frozen=True)
class CheckedArtifact:
    """costs: measures it, by key; task: that scores it; model: called as the task's own."""

    costs: Callable[[], dict[str, Measurement]]
    task: Callable[[], Task]
    model: Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where and how costs are measured.

    Attributes:
        device: By name or address.
        profiler: Of a finished model; empty for that of the device or of the run.
        threads: Of the processor; 0 for the same.
        reporter: Told of what users should know.
        trust: Whether a file is opened that may run code then, and the task is made that an export names as code.
        clock: Tells seconds.
    """

    device: str = HERE
    profiler: str = ""
    threads: int = 0
    reporter: Reporter
    trust: bool = False
    clock: Clock = field(default_factory=SystemClock)

    def setup(self, profiler: str, usual: Mapping[str, Any]) -> Setup:
        """How it is measured.

        profiler: What runs it where nobody says it; usual: the same of threads, batch and precision.
        """
        known = None if self.device == HERE else found(self.device)
        own = 0 if known is None else known.threads
        spec = RunSpec(
            self.threads or own or usual.get("threads", 1), usual.get("batch", 0), usual.get("precision", "float32")
        )
        address: DeviceAddress | None = None if known is None else known.address
        name = self.profiler or (known.profiler if known is not None else "") or profiler
        return Setup(name, spec, address=address)


def artifact_of(path: Path, task: Task | str | None, where: Where) -> CheckedArtifact:
    """What lies there.

    Args:
        path: The folder of a finished model, a run directory, or an exported model's folder or file.
        task: That scores it; None to find it by the name that is written there.
        where: How costs are measured.

    Raises:
        StorageError: it is none of these, or damaged. UsageError: a runtime that does not run the export's format.
    """
    if not path.exists():
        raise StorageError(
            expected="a finished model, a run, or what `autoprune export` wrote",
            received=f"{path}, which is not there",
            cure="check the path; `autoprune runs list` shows the runs below runs/",
        )
    whole = path.is_dir() and ((path / PLAN).is_file() or not (path / cards.CARD).is_file())
    return _finished(path, task, where) if whole else _exported(path, task, where)


def _finished(path: Path, task: Task | str | None, where: Where) -> CheckedArtifact:
    folder, run = model_folder(path)
    record, weights = read(folder)
    made = task_of(record, folder, where.reporter) if task is None else make_task(task, where.reporter)
    for beside in sorted(folder.glob(f"*/{cards.CARD}")):
        if cards.read(beside.parent).precision == QUANTISED:  # the weights are in float32; what was found is that file
            return _exported(beside.parent, made, where)
    model = assemble(record, weights, dense=made.model, example=made.example, folder=folder, reporter=where.reporter)
    setup = where.setup(run.get("profiler", _PROFILER), run)

    def costs() -> dict[str, Measurement]:
        return costs_of(model, made.example, setup, where.reporter, where.clock)

    return CheckedArtifact(costs, lambda: made, lambda: model)


def _exported(path: Path, task: Task | str | None, where: Where) -> CheckedArtifact:
    card = cards.read(path if path.is_dir() else path.parent)
    form = format_of(card.format)
    setup = where.setup(card.profiler, {"precision": card.precision})
    _check_runtime(setup, card.format, form.PROFILER, where.clock)

    def made() -> Task:
        return make_task(_named(card, where.trust) if task is None else task, where.reporter)

    found = opened(path, dense=made().model if form.FROM_DENSE else None, trust=where.trust)
    batch = batch_size(found.example)

    def costs() -> dict[str, Measurement]:
        if setup.address is not None:
            bench: AnyBench = setup.bench("", where.reporter.warn)
        else:
            bench = bench_here(setup.made(where.clock), setup.spec, where.clock)
        try:
            timed = measured(bench, found.packed(), setup.profiler, setup.spec, batch)
        finally:
            bench.close()
        size = sum(each.stat().st_size for each in card.folder.iterdir() if each.name not in (cards.CARD, cards.README))
        return {**timed, "size": Measurement.exact("size", float(size), "B")}

    def model() -> nn.Module:
        scoring = made()
        return found.module(setup.made(where.clock), rebatch(scoring.example, batch), scoring.model)

    return CheckedArtifact(costs, made, model)


def _named(card: Exported, trust: bool) -> str:
    """The task that an export names. Code it may name only where it is trusted: whoever wrote the file chose it."""
    if not card.task:
        raise UsageError(expected="the task that scores it", received="none", cure="pass --task my_task.py:task")
    if not is_registered(card.task) and not trust:
        raise UsageError(
            expected="the task that scores it, as the export's own would be run as code",
            received=f"'{card.task}', which {card.folder / cards.CARD} names",
            cure="pass --task my_task.py:task, or --trust if you wrote the export yourself",
        )
    return card.task


def _check_runtime(setup: Setup, kind: str, usual: str, clock: Clock) -> None:
    """Refuse a profiler that does not run files of a format. usual: the format's own."""
    if setup.profiler != usual and setup.capabilities(clock).format != kind:
        raise UsageError(
            expected=f"a profiler that runs files of the format '{kind}'",
            received=f"'{setup.profiler}'",
            cure=f"pass --profiler {usual}",
        )
