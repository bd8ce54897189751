import pytest

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import Bench
from autoprune.bench.contention import Watch
from autoprune.bench.lease import NoLease
from autoprune.measure.doctor import facts, judged, past, repeatability
from autoprune.measure.history import Look, remember
from autoprune.store.device import DeviceStore
from autoprune.testing.fakes import FakeClock, FakeProfiler


def written(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def mends(root):
    return {finding.name: finding.mend for finding in facts(root, Watch(root / "none", root / "none")) if finding.mend}


def test_a_machine_as_it_should_be_has_nothing_to_mend(tmp_path):
    root = written(
        tmp_path,
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance\n",
        sys__devices__system__cpu__cpufreq__boost="0\n",
    )
    assert mends(root) == {}


def test_what_disturbs_is_named_with_its_cure(tmp_path):
    root = written(tmp_path, sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="powersave\n")
    (root / "sys/devices/system/cpu/intel_pstate").mkdir()
    (root / "sys/devices/system/cpu/intel_pstate/no_turbo").write_text("0\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    found = mends(root)
    assert "cpupower" in found["governor"]
    assert "turbo" in found["turbo"]
    assert "0.5" in found["container's quota"]


@pytest.mark.parametrize(("noise", "fit"), [(0.001, True), (0.4, False)])
def test_a_noisy_machine_cannot_tell_models_apart(noise, fit):
    profiler = FakeProfiler(lambda model: model, noise=noise)
    bench = Bench(profiler, NoLease(), profiler.clock, watch=Watch())
    found = repeatability(bench, Artifact("module", module=(0.004, ())), "cpu", 10.0, profiler.clock)
    assert (found.difference < 0.01) == fit
    assert bool(judged(found).mend) != fit


def test_pairing_tells_more_than_medians_on_a_machine_that_wanders():
    profiler = FakeProfiler(lambda model: model, noise=0.01, wave=0.3)
    bench = Bench(profiler, NoLease(), profiler.clock, watch=Watch())
    found = repeatability(bench, Artifact("module", module=(0.004, ())), "cpu", 10.0, profiler.clock)
    assert found.difference < 0.5 * found.plain
    assert found.wander > 0.3


@pytest.mark.slow
def test_the_command_says_what_it_found(command):
    code, out, err = command("doctor", "--seconds", "1", "--profiler", "onnxruntime")
    assert code in (0, 5)
    assert "onnxruntime" in out
    assert "tells models apart" in out
    assert (code == 5) == ("things to mend" in err)


@pytest.mark.parametrize("seconds", [0.01, 0.3])
def test_a_self_test_that_is_short_still_says_something(seconds):
    profiler = FakeProfiler(lambda model: model)
    bench = Bench(profiler, NoLease(), profiler.clock, watch=Watch())
    found = repeatability(bench, Artifact("module", module=(0.004, ())), "cpu", seconds, profiler.clock)
    assert 0 <= found.difference < 0.5


def test_the_past_is_shown_and_can_be_forgotten(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    clock = FakeClock()
    clock.now = 1e9
    store = DeviceStore.of("a device / 1 threads / float32")
    for _ in range(5):
        remember(store, Look(0.001, 1.3), clock)
    DeviceStore.of("another device / 1 threads / float32")
    clock.advance(7200)
    (seen,) = past("a device", 0.001, clock)
    assert (
        seen.value
        == "1 threads / float32: 5 looks, the last one 2.0 h ago; slow hours are 1.30 times as slow as it is now"
    )
    (gone,) = past("a device", 0.001, clock, forget=True)
    assert "5 looks forgotten" in gone.value
    assert not list(past("a device", 0.001, clock))
