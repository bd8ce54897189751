"""`autoprune profile --counters`: what the processor counts of a model by itself."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.api.profile import Subject
from autoprune.bench.artifact import Artifact
from autoprune.bench.hardware_counters import Opens, counting, open_event
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.measure import limits
from autoprune.measure.setup import Setup
from autoprune.profilers import Profiler
from autoprune.remote.packing import Packer, accepted, unpacked
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import rebatch

#: Seconds of runs that are counted, and how many at least.
_SECONDS, _RUNS = 1.0, 5


@dataclass(frozen=True)
class HardwareCounters:
    """Of one run of a model, all threads together.

    cycles, instructions: outside of the kernel; cache_references, cache_misses: of the last cache; runs: how many were
    counted.
    """

    cycles: float
    instructions: float
    cache_references: float
    cache_misses: float
    runs: int

    @property
    def instructions_per_cycle(self) -> float:
        return self.instructions / self.cycles if self.cycles else 0.0

    @property
    def miss_rate(self) -> float:
        """The share of references to the last cache that miss it."""
        return self.cache_misses / self.cache_references if self.cache_references else 0.0


def hardware_counters(
    subject: Subject, profiler: str, spec: RunSpec, clock: Clock | None = None, opens: Opens = open_event
) -> HardwareCounters:
    """Run a model in this process, and count.

    Args:
        subject: Whose model.
        profiler: What runs it.
        spec: How.
        clock: Tells seconds; default: the system's.
        opens: What asks the kernel.

    Raises:
        DeviceError: the kernel does not let processes count, or the profiler cannot run the model.
    """
    clock = clock or SystemClock()
    made = Setup(profiler, spec).made(clock)
    try:
        with counting(opens):
            pass  # refused before a model is converted for it
        example = rebatch(subject.inputs, spec.batch)
        packer = Packer(made.capabilities().format, True, subject.model, example)
        with evaluating(subject.model):
            return accepted(packer.packed(CutModel(subject.model)), lambda artifact: _counted(made, artifact, opens))
    finally:
        made.close()


def _counted(made: Profiler, artifact: Artifact, opens: Opens) -> HardwareCounters:
    runnable = unpacked(artifact)
    handle = made.prepare(runnable.model, runnable.inputs)
    try:
        made.run_block(handle, limits.USUAL.warm_s, _RUNS)  # every thread that it needs is there by now
        with counting(opens) as read:
            runs = len(made.run_block(handle, _SECONDS, _RUNS).wall_s)
            found = read()
    finally:
        made.release(handle)
    return HardwareCounters(**{name: each / runs for name, each in found.items()}, runs=runs)
