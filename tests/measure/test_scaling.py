"""Models whose time is a serial part and one that threads share."""

import pytest

from autoprune.bench.affinity import pinned, processors
from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import Bench
from autoprune.bench.lease import NoLease
from autoprune.errors import UsageError
from autoprune.measure.scaling import MODEL, scaling
from autoprune.testing.fakes import FakeProfiler
from tests.hurried import LIMITS

SERIAL, SHARED = 0.002, 0.008


def ready(profiler, clock, count):
    profiler.clock = clock
    bench = Bench(profiler, NoLease(), clock)
    bench.prepare(MODEL, Artifact("module", module=(SERIAL + SHARED / count, ())))
    return bench


def on(counts, **options):
    profilers = {count: FakeProfiler(lambda model: model, seed=count, **options) for count in counts}
    clock = profilers[counts[0]].clock
    return scaling({count: ready(each, clock, count) for count, each in profilers.items()}, LIMITS, clock, 0)


@pytest.mark.parametrize("counts", [(1, 2, 4), (2, 8)])
def test_speedup_and_efficiency_are_those_of_amdahls_law_while_the_machine_wanders(counts):
    found = on(counts, noise=0.05, wave=0.3)
    fewest = counts[0]
    for each in found:
        true = (SERIAL + SHARED / fewest) / (SERIAL + SHARED / each.threads)
        assert each.speedup.value == pytest.approx(true, rel=0.03)
        assert each.speedup.low <= each.speedup.value <= each.speedup.high
        assert each.efficiency.value == pytest.approx(true * fewest / each.threads, rel=0.03)
    assert [each.threads for each in found] == list(counts)
    assert found[0].efficiency.value == 1.0


def test_threads_take_cores_before_their_siblings(tmp_path):
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(f"{siblings}\n")
    assert processors({0, 1, 2, 3}, tmp_path) == [0, 1, 2, 3]
    assert processors({0, 2, 3}, tmp_path) == [0, 3, 2]
    assert processors({5, 4}, tmp_path) == [4, 5]


def test_who_is_started_meanwhile_is_pinned_and_nobody_afterwards(monkeypatch):
    masks = [{0, 1, 2, 3}]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: masks[-1], raising=False)
    monkeypatch.setattr("os.sched_setaffinity", lambda _, mask: masks.append(set(mask)), raising=False)
    with pinned(2) as chosen:
        assert masks[-1] == set(chosen)
        assert len(chosen) == 2
    assert masks[-1] == {0, 1, 2, 3}
    with pytest.raises(UsageError, match="at most 4 threads"), pinned(5):
        pass
