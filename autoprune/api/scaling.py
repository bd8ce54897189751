"""`autoprune.scaling`: what more threads are worth to a model on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from autoprune.api.profile import Subject, find_subject
from autoprune.bench.affinity import pinned
from autoprune.bench.bench import AnyBench
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.reporter import Logged, Reporter
from autoprune.errors import UsageError
from autoprune.measure import scaling as rounds
from autoprune.measure.scaling import Scaled
from autoprune.measure.setup import Setup
from autoprune.remote.packing import Packer, accepted
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import rebatch


def scaling(
    subject: Subject | str | Path,
    threads: Sequence[int],
    *,
    profiler: str = "torch",
    batch: int = 0,
    precision: str = "float32",
    reporter: Reporter | None = None,
    clock: Clock | None = None,
) -> tuple[Scaled, ...]:
    """Time a model on several counts of threads, each in a process that is pinned to as many processors.

    Args:
        subject: A task by its name, the directory of a run (its best model), or the folder of one model.
        threads: Counts, two or more; speedups are those over the fewest.
        profiler: What runs it.
        batch: Size of the batch; 0 takes the inputs as they are.
        precision: That the profiler computes in.
        reporter: Who is told of warnings and progress; default: the logger "autoprune".
        clock: Tells seconds; default: the system's.

    Returns:
        One record a count, the fewest threads first.

    Raises:
        UsageError: fewer than two counts, more threads than processors, or a model that no other process can make.
        DeviceError: it does not run there.

    Example:
        >>> [each.efficiency.value for each in scaling("digits", (1, 2))]  # doctest: +SKIP
    """
    reporter, clock, counts = reporter or Logged(), clock or SystemClock(), sorted(set(threads))
    subject = subject if isinstance(subject, Subject) else find_subject(subject, reporter)
    if len(counts) < 2:
        raise UsageError(expected="two counts of threads or more", received=f"{counts}", cure="write for example 1,2,4")
    setups = {count: Setup(profiler, RunSpec(count, batch, precision), subject.task) for count in counts}
    able = setups[counts[0]].capabilities(clock)
    if able.format == "module" and not subject.task:
        raise UsageError(
            expected=f"a task by its name, as '{profiler}' is to run its model in one process for each count",
            received="a model that was made here",
            cure="name the task, or take a profiler of files, such as onnxruntime",
        )
    packer = Packer(able.format, False, subject.model, rebatch(subject.inputs, batch))
    with ExitStack() as closing, evaluating(subject.model):
        benches: dict[int, AnyBench] = {}
        for count, setup in setups.items():
            bench = setup.bench(subject.task if able.format == "module" else "", reporter.warn)
            closing.callback(bench.close)
            with pinned(count):
                bench.start()
            benches[count] = bench
        limits = setups[counts[0]].limits
        with reporter.track("opening a process for each count", len(counts)) as advance:
            for ready in benches.values():
                accepted(packer.packed(CutModel(subject.model)), partial(ready.prepare, rounds.MODEL))
                advance("")
        return tuple(rounds.scaling(benches, limits, clock, 0))
