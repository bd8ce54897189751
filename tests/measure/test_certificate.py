import dataclasses

import pytest

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import Bench
from autoprune.bench.lease import NoLease
from autoprune.core.reporter import SILENT
from autoprune.measure.certificate import PROCESSES, Certificate
from autoprune.measure.limits import Limits
from autoprune.testing.fakes import FakeProfiler


def model(seconds):
    return Artifact("module", module=(seconds, ()))


def certificate(certain, waited):
    profiler = FakeProfiler(lambda artifact: artifact)
    return Certificate(
        opened=lambda: Bench(profiler, NoLease(), profiler.clock),
        dense=model(0.010),
        room=4,
        certain=certain,
        limits=Limits(certify_s=6.0, certify_rounds=(2, 10_000)),
        clock=profiler.clock,
        reporter=SILENT,
        seed=0,
        waited=waited.append,
    )


def test_models_that_are_certain_soon_wait_for_nobody():
    waited = []
    found = certificate(lambda pairs: len(pairs) >= 3, waited).take([[model(0.004)], [model(0.002)]], lambda text: None)
    assert [[len(pairs) for pairs in each] for each in found] == [[3] * PROCESSES] * 2
    assert not waited


def test_waiting_for_a_quiet_machine_is_counted_and_ends():
    waited = []
    taken = certificate(lambda pairs: False, waited)
    start = taken.clock.wall()
    taken.take([[model(0.004)]], lambda text: None)
    whole = taken.clock.wall() - start
    assert len(waited) == PROCESSES
    assert 0 < sum(waited) < whole == pytest.approx(6.0, abs=0.5)


@pytest.mark.parametrize(("together", "most"), [(True, PROCESSES), (False, 1)])
def test_where_memory_is_short_processes_follow_each_other(together, most):
    profiler, held, open_at_once = FakeProfiler(lambda artifact: artifact), [], []

    class Counting(Bench):
        def __init__(self):
            super().__init__(profiler, NoLease(), profiler.clock)
            held.append(self)
            open_at_once.append(len(held))

        def close(self):
            super().close()
            if self in held:
                held.remove(self)

    taken = dataclasses.replace(certificate(lambda pairs: len(pairs) >= 3, []), opened=Counting, together=together)
    found = taken.take([[model(0.004)]], lambda text: None)
    assert [len(pairs) for pairs in found[0]] == [3] * PROCESSES
    assert max(open_at_once) == most
    assert not held
