"""What an artifact costs in its runtime, on this machine or elsewhere. Knows benches and sessions; not formats."""

from __future__ import annotations

from autoprune.bench.artifact import Artifact, here
from autoprune.bench.bench import AnyBench, Bench
from autoprune.bench.lease import device_lease
from autoprune.core.clock import Clock
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.metric import RELATIVE
from autoprune.measure import limits
from autoprune.measure.session import Session
from autoprune.meters import open_meter
from autoprune.profilers import Profiler
from autoprune.store.device import cache_folder


def bench_here(profiler: Profiler, spec: RunSpec, clock: Clock) -> Bench:
    """A bench in this process."""
    found = profiler.capabilities()
    lease = device_lease(cache_folder("leases"), profiler.fingerprint(), clock, exclusive=found.exclusive)
    return Bench(profiler, lease, clock, spec.precision, here, meter=open_meter(found.meter, spec.meter))


def measured(bench: AnyBench, artifact: Artifact, profiler: str, spec: RunSpec, batch: int) -> dict[str, Measurement]:
    """Latency with its statistics, throughput, energy where it is metered, by key.

    Args:
        bench: Where it runs.
        artifact: What is measured.
        profiler: Its name.
        spec: How it runs.
        batch: Samples that one run takes.

    Raises:
        DeviceError: it does not run there.
    """
    session = Session(bench=bench, spec=spec, profiler=profiler, batch=batch, seed=0, limits=limits.USUAL)
    return {key: each for key, each in session.open(artifact).items() if key != str(RELATIVE)}
