"""`autoprune.doctor`: is this machine fit to measure, and is its cluster locked?"""

from __future__ import annotations

from autoprune import registry
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.units import sample_work
from autoprune.errors import DeviceError
from autoprune.executors._cluster import UNLOCKED, found_address, strangers
from autoprune.measure import doctor as checks
from autoprune.measure.doctor import Finding
from autoprune.remote.client import WorkerBench


def doctor(
    profiler: str = "torch", seconds: float = checks.SECONDS, address: str = "", *, forget: bool = False
) -> list[Finding]:
    """Facts, runtimes, and how repeatable this machine is with one profiler; what has `mend` is not as it should be.

    seconds: of the self-test; 0 leaves it out; address: of a Ray cluster, whose door is tried; empty for the one that
    this machine belongs to, if there is one; forget: what earlier searches saw of the device's slow hours goes.
    """
    clock = SystemClock()
    registry.load("profilers", profiler)
    found = [*checks.facts(clock=clock), *checks.runtimes(clock), *_cluster(address)]
    if seconds <= 0 and not forget:
        return found
    bench = WorkerBench(profiler, RunSpec())
    try:
        found.insert(0, Finding("device", bench.fingerprint()))
        found += checks.past(bench.fingerprint(), bench.speed(), clock, forget=forget)
        if seconds > 0:
            work = sample_work(bench.capabilities().format)
            found.append(checks.self_test(bench, work, seconds, clock))
    except DeviceError as error:
        found.append(Finding("repeatability", "the self-test failed", str(error)))
    finally:
        bench.close()
    return found


def _cluster(address: str) -> list[Finding]:
    """Whether strangers are let into the Ray cluster."""
    known = found_address(address or "auto")
    if not known:
        return []
    entering = strangers(known)["strangers"]
    if entering is None:
        return [Finding("ray cluster", f"nothing answers at {known}", "check its address" if address else "")]
    if entering:
        return [Finding("ray cluster", f"{known} {UNLOCKED}", "restart it with RAY_AUTH_MODE=token")]
    return [Finding("ray cluster", f"{known} asks for a token")]
