"""The roof of a device that others use, too."""

from types import SimpleNamespace

import pytest

from autoprune.bench.bench import Bench
from autoprune.bench.contention import Reading, Watch
from autoprune.bench.lease import NoLease
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.roofline import Roofline, roofline
from autoprune.measure.setup import Setup
from autoprune.store.device import DeviceStore
from autoprune.testing.fakes import FakeClock, FakeProfiler
from tests.hurried import LIMITS


class Quiet(Watch):
    def read(self):
        return Reading(waited_us=0.0, ticks=0.0, stolen=0.0)


class Crowded(Watch):
    """Something always waits for a processor."""

    clock: FakeClock

    def __init__(self, clock):
        super().__init__()
        object.__setattr__(self, "clock", clock)

    def read(self):
        return Reading(waited_us=self.clock.now * 1e6, ticks=0.0, stolen=0.0)

    def pressing(self):
        return 0.0


def device(folder, *, steal=1.0, crowded=False, threads=1, seconds=0.01):
    profiler = FakeProfiler(lambda model: seconds, noise=0.02, steal=steal)
    setup = Setup("fake", RunSpec(threads), limits=LIMITS)
    bench = Bench(profiler, NoLease(), profiler.clock, watch=Crowded(profiler.clock) if crowded else Quiet())
    return SimpleNamespace(
        bench=bench,
        capabilities=profiler.capabilities(),
        setup=setup,
        store=DeviceStore(folder),
        spec=SimpleNamespace(seed=0),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_calm_roof_is_kept_and_used_when_others_have_the_machine(tmp_path, threads):
    found = roofline(device(tmp_path, threads=threads))
    assert found.calm
    assert found.flops == pytest.approx(2 * 1024**3 / 0.01, rel=0.1)
    assert roofline(device(tmp_path, threads=threads, steal=3.0, crowded=True)) == found


def test_a_roof_of_a_busy_machine_is_the_same_on_one_thread_and_kept_by_nobody(tmp_path):
    calm = roofline(device(tmp_path / "calm"))
    busy = roofline(device(tmp_path / "busy", steal=3.0, crowded=True))
    assert not busy.calm
    assert busy.flops == pytest.approx(calm.flops, rel=0.1)
    assert busy.bandwidth == pytest.approx(calm.bandwidth, rel=0.1)
    assert DeviceStore(tmp_path / "busy").read("roof.json") is None
    assert roofline(device(tmp_path / "busy")).calm


def test_a_roof_of_an_earlier_version_is_measured_again(tmp_path):
    store = DeviceStore(tmp_path)
    store.write("roofline.json", {"flops": 1.0, "bandwidth": 1.0})
    assert roofline(device(tmp_path)) != Roofline(1.0, 1.0)
