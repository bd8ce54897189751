"""Devices elsewhere: added to the user's list, and tried. Knows both; not what is measured on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from autoprune.core.address import DeviceAddress, KnownDevice
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.units import sample_work
from autoprune.engine.known_device import found
from autoprune.measure import doctor as checks
from autoprune.measure.doctor import Finding
from autoprune.measure.setup import Setup
from autoprune.options.defaults import PROFILER
from autoprune.remote.client import WorkerBench
from autoprune.store.devices import Devices

#: Seconds of the self-test, and requests whose round trip is taken.
SECONDS = 5.0
_TRIPS = 10


def examined(device: str, profiler: str = "", seconds: float = SECONDS) -> list[Finding]:
    """What a device says of itself, how far away it is, and how repeatable it measures.

    Raises:
        UsageError: nobody knows it. DeviceError: it cannot be reached, or not with that profiler.
    """
    known = found(device)
    setup = Setup(profiler or known.profiler or PROFILER, RunSpec(known.threads or 1), "", known.address, wait=False)
    bench = setup.bench("", lambda _: None)
    try:
        begin = time.monotonic()
        said = [Finding("device", bench.fingerprint())]
        said.append(Finding("opening", f"{time.monotonic() - begin:.1f} s"))
        said.append(Finding("round trip", f"{_trip(bench) * 1e3:.0f} ms; no part of any latency"))
        capabilities = bench.capabilities()
        said.append(Finding("measures", f"{', '.join(capabilities.metrics)} of {capabilities.format} artifacts"))
        return (
            [*said, checks.self_test(bench, sample_work(capabilities.format), seconds, SystemClock())]
            if seconds > 0
            else said
        )
    finally:
        bench.close()


def _trip(bench: WorkerBench) -> float:
    """Seconds of the fastest of a few requests that do nothing."""

    def seconds(act: Callable[[], None]) -> float:
        begin = time.monotonic()
        act()
        return time.monotonic() - begin

    return min(seconds(lambda: bench.release("none")) for _ in range(_TRIPS))


def added(name: str, address: str, profiler: str, threads: int, python: str, token_file: str) -> KnownDevice:
    """A device under a name, kept in the user's list."""
    parsed = DeviceAddress.parse(address)
    parsed = replace(parsed, python=python or parsed.python, token_file=token_file)
    device = KnownDevice(name, parsed, profiler, threads)
    Devices().add(device)
    return device
