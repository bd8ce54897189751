"""What profilers of this machine's processor share: its name, the loop that times, how a missing library is said."""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block
from autoprune.errors import DeviceError, describe
from autoprune.optional_library import import_library


def processor() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def timed(call: Callable[[], object], clock: Clock, min_s: float, min_runs: int) -> Block:
    """Call for at least that long and often; wall and processor time of each.

    Only the calls count: what others take of the processor in between would leave a block with hardly a run in it.
    """
    wall: list[float] = []
    cpu: list[float] = []
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    spent = 0.0
    while spent < min_s or len(wall) < min_runs:
        start, used = clock.wall(), clock.cpu()
        call()
        wall.append(clock.wall() - start)
        spent += wall[-1]
        cpu.append(clock.cpu() - used)
    return Block(tuple(wall), tuple(cpu), resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches)


def needed(library: str, profiler: str, extra: str = "") -> ModuleType:
    """The library of a profiler; see `import_library`. extra: that has it, where not the profiler's own."""
    return import_library(library, purpose=f"for the profiler '{profiler}'", extra=extra or profiler)


def version(package: str) -> str:
    """The installed version of a package."""
    return metadata.version(package)


def refused(runtime: str, error: Exception) -> DeviceError:
    """What a runtime said of a model that it cannot run."""
    return DeviceError(
        expected=f"the model to run in {runtime}",
        received=describe(error),
        cure="run it on its example inputs alone, or choose another --profiler",
    )
