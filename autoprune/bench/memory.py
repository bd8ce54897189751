"""Peak memory of this process. Knows Linux's own counters; a child's `ru_maxrss` would be its parent's peak."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
from collections.abc import Callable
from pathlib import Path

from autoprune.errors import DeviceError

_STATUS = Path("/proc/self/status")


def peak_added(work: Callable[[], object]) -> float:
    """Bytes by which the resident memory of this process rose at most while `work` ran.

    Raises:
        DeviceError: this system does not tell.
    """
    gc.collect()
    library = ctypes.util.find_library("c")
    if library is not None and hasattr(ctypes.CDLL(library), "malloc_trim"):
        ctypes.CDLL(library).malloc_trim(0)  # what is free already must not hide what comes
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _kib("VmRSS")
        work()
        return (_kib("VmHWM") - before) * 1024.0
    except (OSError, StopIteration) as error:
        raise DeviceError(
            expected="a system that tells the peak memory of a process",
            received="no VmHWM in /proc/self/status",
            cure="measure memory on Linux",
        ) from error


def resident() -> float:
    """Bytes that this process holds now; 0 where the system does not say."""
    try:
        return _kib("VmRSS") * 1024
    except (OSError, StopIteration):
        return 0.0


def available() -> float:
    """Bytes that the machine could still give; infinite where it does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
        return float(next(line for line in text.splitlines() if line.startswith("MemAvailable")).split()[1]) * 1024
    except (OSError, StopIteration):
        return float("inf")


def _kib(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return float(line.split()[1])
