"""Whether a machine is fit to measure. Knows where Linux says what disturbs timings, and a test of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from autoprune import registry
from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import AnyBench
from autoprune.bench.contention import PRESSED, STOLEN, Watch, between
from autoprune.core import quantity
from autoprune.core.clock import Clock
from autoprune.core.measurement import RunSpec
from autoprune.errors import AutopruneError, DeviceError
from autoprune.measure import estimator, history
from autoprune.measure.estimator import Time
from autoprune.measure.limits import USUAL
from autoprune.meters import open_meter
from autoprune.store.device import DeviceStore

#: Seconds of the self-test, and of the measurements that it imitates.
SECONDS: Final = 10.0
WINDOW_S: Final = 1.0
#: A machine that cannot tell models apart that differ by less than this is not fit.
COARSE: Final = 0.05
_BUSY: Final = 0.7


@dataclass(frozen=True)
class Finding:
    """One fact about the machine; mend: what to do about it, empty where it is as it should be."""

    name: str
    value: str
    mend: str = ""


@dataclass(frozen=True)
class Repeatability:
    """What a machine can tell apart.

    difference: the smallest relative difference between two models that a measurement of a second shows, in 19 cases
    of 20; plain: the same for medians that are not paired; wander: by how much the same model was slower at its slowest
    than at its fastest.
    """

    difference: float
    plain: float
    wander: float


def facts(root: Path = Path("/"), watch: Watch | None = None, clock: Clock | None = None) -> Iterator[Finding]:
    """What the system says of itself; where it says nothing, neither do we."""
    watch = watch or Watch()
    cpu = root / "sys/devices/system/cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", f"{cores} usable of {os.cpu_count()}")
    governor = _text(cpu / "cpu0/cpufreq/scaling_governor")
    if governor:
        wrong = governor != "performance"
        cure = "set the governor to performance: `cpupower frequency-set -g performance`"
        yield Finding("governor", governor, cure if wrong else "")
    else:
        yield Finding("governor", "not shown (usual in virtual machines)")
    boost, no_turbo = _text(cpu / "cpufreq/boost"), _text(cpu / "intel_pstate/no_turbo")
    if boost or no_turbo:
        on = boost == "1" or no_turbo == "0"
        yield Finding(
            "turbo", "on" if on else "off", "switch turbo off, or expect slower hours when warm" if on else ""
        )
    else:
        yield Finding("turbo", "not shown")
    load, pressure = os.getloadavg()[0], watch.pressing()
    busy = load > _BUSY * cores and pressure > PRESSED
    yield Finding(
        "load",
        f"{load:.1f} on {cores} cores; something waited for a processor {pressure:.0%} of the last 10 s",
        "end other work, or measure when it has ended" if busy else "",
    )
    if clock is not None:
        before = watch.read()
        clock.sleep(0.5)
        _, stolen = between(before, watch.read(), 0.5)
        cure = "ask for processors of your own: a hypervisor gives these to others"
        yield Finding("stolen time", f"{stolen:.0%}", cure if stolen > STOLEN else "")
    quota = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        share = int(quota[0]) / int(quota[1])
        cure = f"give the container whole processors: its quota of {share:.1f} pauses it in the middle of runs"
        yield Finding("container's quota", f"{share:.1f} processors", cure if share < cores else "")
    metered = open_meter("cpu") is not None
    yield Finding("energy", "metered" if metered else "not metered here: energy cannot be limited")


def runtimes(clock: Clock) -> Iterator[Finding]:
    """Every known profiler with its device and version, or what it needs."""
    for name in registry.names("profilers"):
        try:
            profiler = registry.load("profilers", name).create(RunSpec(), clock)
            yield Finding(name, profiler.fingerprint())
            profiler.close()
        except DeviceError as error:
            yield Finding(name, f"not here: {error.cure}")
        except AutopruneError as error:
            yield Finding(name, f"broken: {error}", "repair or uninstall it")


def past(fingerprint: str, present: float, clock: Clock, *, forget: bool = False) -> Iterator[Finding]:
    """What earlier searches saw of a device's slow hours, for each way in which it was run.

    Args:
        fingerprint: Of device and runtime.
        present: Seconds that the fixed piece of work takes now.
        clock: Tells how long ago that was.
        forget: Remove it.
    """
    for name, store in DeviceStore.all():
        if not name.startswith(f"{fingerprint} / "):
            continue
        how = name.removeprefix(f"{fingerprint} / ")
        if forget:
            yield Finding("past", f"{how}: {history.forget(store)} looks forgotten")
            continue
        seen = history.wander(store, present, clock)
        if seen.looks:
            slow = f"slow hours are {seen.slower:.2f} times as slow as it is now"
            known = slow if seen.looks >= history.FEWEST else "too few to tell its slow hours"
            ago = quantity.spell(seen.age)
            yield Finding("past", f"{how}: {seen.looks} looks, the last one {ago} ago; {known}")


def repeatability(bench: AnyBench, artifact: Artifact, time: Time, seconds: float, clock: Clock) -> Repeatability:
    """Two copies of one model, measured against each other for a while."""
    names = ["left", "right"]
    for name in names:
        bench.prepare(name, artifact)
    logs: list[float] = []
    left: list[float] = []
    start = clock.wall()
    while not logs or clock.wall() - start < seconds:
        for blocks in bench.rounds(names, 8, USUAL.block_s, USUAL.block_runs, len(logs)):
            one, other = (estimator.median(block, time) for block in blocks)
            logs.append(float(np.log(one / other)))
            left.append(one)
    pairs = max(int(len(logs) * WINDOW_S / max(clock.wall() - start, WINDOW_S)), 1)
    windows = range(0, len(logs) - pairs + 1, max(pairs // 4, 1))
    ratios = np.array([np.median(logs[place : place + pairs]) for place in windows])
    medians = np.log([np.median(left[place : place + pairs]) for place in windows])
    difference = float(np.expm1(np.percentile(np.abs(ratios), 95)))
    plain = float(np.expm1(np.percentile(np.abs(medians - np.median(medians)), 95)))
    return Repeatability(difference, plain, float(np.expm1(np.ptp(medians))))


def self_test(bench: AnyBench, work: Artifact, seconds: float, clock: Clock) -> Finding:
    """How repeatable a bench measures, told by a piece of work."""
    time: Time = "cpu" if bench.capabilities().cpu_time else "wall"
    return judged(repeatability(bench, work, time, seconds, clock))


def judged(found: Repeatability) -> Finding:
    """The self-test as a finding."""
    said = (
        f"tells models apart that differ by {found.difference:.1%} in {WINDOW_S:.0f} s "
        f"(unpaired medians: {found.plain:.1%}); the same model wandered by {found.wander:.0%}"
    )
    cure = "end other work, fix the clock rate, or use a quieter machine"
    return Finding("repeatability", said, cure if found.difference > COARSE else "")


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
