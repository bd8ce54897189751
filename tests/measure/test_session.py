import threading

import pytest

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import Bench
from autoprune.bench.contention import Reading, Watch
from autoprune.bench.lease import NoLease
from autoprune.core.measurement import RunSpec
from autoprune.core.rate import parse_rates
from autoprune.errors import DeviceError
from autoprune.measure.any_device import NOTHING
from autoprune.measure.history import STEADY, Wander
from autoprune.measure.session import Session
from autoprune.testing.fakes import FakeClock, FakeProfiler


class Machine(Watch):
    """Under pressure for so many looks."""

    looks = 0

    def pressing(self):
        self.looks -= 1
        return 0.9 if self.looks >= 0 else 0.0


class Crowded(Watch):
    """Something always waits for a processor."""

    clock: FakeClock

    def __init__(self, clock):
        super().__init__()
        object.__setattr__(self, "clock", clock)

    def read(self):
        return Reading(waited_us=self.clock.now * 1e6, ticks=0.0, stolen=0.0)

    def pressing(self):
        return 0.9


class Timed(Session):
    """Models are their true seconds."""

    def measure(self, seconds, bounds, ceilings=NOTHING):
        return super().measure(Artifact("module", module=(seconds, ())), bounds, ceilings)


def opened(wander=STEADY, threads=1, crowded=False, rates=(), **options):
    profiler = FakeProfiler(lambda model: model, **options)
    watch = Crowded(profiler.clock) if crowded else Machine()
    bench = Bench(profiler, NoLease(), profiler.clock, watch=watch)
    session = Timed(bench, RunSpec(threads), "fake", 4, seed=0, wander=wander, rates=rates)
    return session, profiler, session.open(Artifact("module", module=(0.010, ())))


def test_a_quiet_device_gives_exact_numbers():
    session, _profiler, dense = opened()
    found = session.measure(0.004, {})
    assert dense["latency"].value == pytest.approx(0.010)
    assert found["latency"].value == pytest.approx(0.004)
    assert found["latency.relative"].value == pytest.approx(0.4)
    assert found["throughput"].value == pytest.approx(1000)
    assert found["latency"].valid
    assert found["latency"].converged


def test_candidates_are_ordered_right_while_the_device_wanders():
    session, _, _ = opened(noise=0.02, wave=0.3)
    true = [0.0040, 0.0042, 0.0044, 0.0046, 0.0048]
    found = [session.measure(seconds, {})["latency"].value for seconds in true]
    assert found == sorted(found)


def test_slow_hours_are_told_beside_the_interval():
    session, _, _ = opened(wave=0.2)
    for _ in range(120):
        session.measure(0.004, {})
    session.reference()
    found = session.measure(0.004, {})
    assert found["latency"].value == pytest.approx(0.004, rel=0.1)
    assert found["latency"].high <= found["latency"].value * 1.1
    assert found["latency.worst"].value >= 0.004 * 1.15


def test_near_a_bound_more_blocks_are_spent_than_far_from_it():
    near = opened(noise=0.03)[0].measure(0.004, {"latency": 0.004})["latency"].n
    far = opened(noise=0.03)[0].measure(0.004, {"latency": 0.1})["latency"].n
    assert near > far


def test_other_work_does_not_change_the_order_of_candidates():
    session, _, _ = opened(steal=1.5, noise=0.002)
    true = [0.0040, 0.0042, 0.0044]
    found = [session.measure(seconds, {})["latency"] for seconds in true]
    assert [each.value for each in found] == pytest.approx(true, rel=0.01)
    assert all(each.valid for each in found)


def test_other_work_makes_wall_times_uncertain():
    session, _, _ = opened(steal=1.5, threads=2, crowded=True)
    found = session.measure(0.004, {})["latency"]
    assert not found.valid
    assert "other work" in found.note


def test_too_much_noise_is_said_to_be_so():
    session, _, _ = opened(noise=1.0)
    assert not session.measure(0.004, {})["latency"].converged


def test_numbers_are_restated_after_a_bad_first_moment():
    session, _profiler, _ = opened()
    session.dense.windows[:] = [0.015] * 3
    session.dense.typical = 0.015
    early = session.measure(0.004, {})
    assert early["latency"].value == pytest.approx(0.006)
    for _ in range(20):
        session.measure(0.004, {})
    session.reference()
    again = session.restated(early)
    assert again["latency"].value == pytest.approx(0.004)
    assert again["latency.p99"].value == pytest.approx(early["latency.p99"].value / 1.5)
    assert again["throughput"].value == pytest.approx(1000)


def test_what_follows_by_a_rate_is_restated_with_what_it_follows_from():
    session, _profiler, dense = opened(rates=parse_rates(["price=0.36/h"]))
    found = session.measure(0.004, {})
    session.dense.typical *= 3
    for each in (dense, found, session.restated(found)):
        assert each["price"].value == pytest.approx(1e-4 * each["latency"].value)
    assert session.restated(found)["price"].value == pytest.approx(3 * found["price"].value)


def test_what_the_device_did_in_earlier_runs_is_told_and_widens_nothing():
    found = opened(wander=Wander(1.3))[0].measure(0.004, {})
    assert found["latency"].value == pytest.approx(0.004)
    assert found["latency"].high == pytest.approx(0.004)
    assert found["latency.worst"].value == pytest.approx(0.0052)


def test_slowed_device_has_used_up_known_slowness():
    session = opened(wander=Wander(2.0))[0]
    session.dense.windows += [0.014] * 20
    found = session.reference()
    assert found["latency"].value == pytest.approx(0.014)
    assert found["latency.worst"].value == pytest.approx(0.020)
    session.dense.windows += [0.030] * 60
    assert session.reference()["latency.worst"].value >= 0.030


def test_a_limit_on_slow_hours_is_near_as_well():
    far = opened(noise=0.03, wander=Wander(2.0))[0].measure(0.004, {"latency.worst": 0.004})["latency"].n
    near = opened(noise=0.03, wander=Wander(2.0))[0].measure(0.004, {"latency.worst": 0.008})["latency"].n
    assert near > far


def test_models_of_other_sizes_become_references_and_agree_with_the_first():
    session, profiler, _ = opened(noise=0.01)
    found = [session.measure(seconds, {})["latency"].value for seconds in (0.004, 0.0041, 0.001, 0.0011, 0.0105)]
    assert found == pytest.approx([0.004, 0.0041, 0.001, 0.0011, 0.0105], rel=0.03)
    held = len(session._anchors)
    assert held == 3
    assert profiler.prepared - profiler.released == held


@pytest.mark.parametrize(("threads", "waits"), [(2, True), (1, False)])
def test_dense_model_waits_only_where_the_wall_alone_tells(threads, waits):
    profiler = FakeProfiler(lambda model: model)
    profiler.steal = 1.5
    bench = Bench(profiler, NoLease(), profiler.clock, watch=Crowded(profiler.clock))
    session = Session(bench, RunSpec(threads), "fake", 4, seed=0)
    session.open(Artifact("module", module=(0.010, ())))
    assert (profiler.clock.now >= 10) == waits
    assert profiler.clock.now < 16


def test_candidates_wait_for_nobody():
    session, profiler, _ = opened()
    profiler.steal = 1.5
    session.bench.watch.looks = 10**6
    before = profiler.clock.now
    for _ in range(20):
        session.measure(0.004, {})
    assert profiler.clock.now - before < 10


def test_a_rough_look_waits_for_nothing():
    session, profiler, _ = opened()
    profiler.steal = 1.5
    session.bench.watch.looks = 10**6
    before = profiler.clock.now
    assert session.rough(Artifact("module", module=(0.004, ()))) == pytest.approx(0.004)
    assert profiler.clock.now - before < 1


def test_a_model_that_waits_is_judged_by_the_wall():
    session, profiler, _ = opened()
    profiler.steal = {0.004: 3.0}
    found = session.measure(0.004, {})
    assert found["latency"].value == pytest.approx(0.012)
    assert found["latency"].valid


def test_a_candidate_that_is_beaten_anyway_is_not_pinned_down_at_a_limit():
    edge = {"latency": 0.004}
    pinned = opened(noise=0.03)[0].measure(0.004, edge)["latency"]
    beaten = opened(noise=0.03)[0].measure(0.004, edge, {"latency.relative": 0.3})["latency"]
    unbeaten = opened(noise=0.03)[0].measure(0.004, edge, {"latency.relative": 0.5})["latency"]
    assert beaten.n < pinned.n == unbeaten.n
    assert beaten.low > 0.003
    assert beaten.converged


def test_a_limit_on_throughput_is_near_as_well():
    near = opened(noise=0.03)[0].measure(0.004, {"throughput": 1000.0})["latency"].n
    far = opened(noise=0.03)[0].measure(0.004, {"throughput": 40.0})["latency"].n
    assert near > far


def test_slow_models_are_measured_as_long_as_time_allows_and_no_longer():
    session, profiler, _ = opened()
    before = profiler.clock.now
    found = session.measure(3.0, {})
    assert found["latency"].value == pytest.approx(3.0)
    assert profiler.clock.now - before < 120


class Mortal(Bench):
    """Loses all its models when told to."""

    life = 1

    def generation(self):
        return self.life

    def die(self):
        self.life += 1
        self._handles.clear()


def test_new_process_gets_all_models_that_others_pair_with():
    profiler = FakeProfiler(lambda model: model)
    bench = Mortal(profiler, NoLease(), profiler.clock, watch=Machine())
    session = Timed(bench, RunSpec(), "fake", 4, seed=0)
    session.open(Artifact("module", module=(0.010, ())))
    session.measure(0.002, {})
    bench.die()
    assert session.measure(0.0021, {})["latency"].value == pytest.approx(0.0021)
    bench.die()
    assert session.reference()["latency"].value == pytest.approx(0.010)


def test_work_beside_a_measurement_is_let_in_only_where_it_moves_nothing():
    session, profiler, _ = opened(noise=0.005)
    assert session.undisturbed(Artifact("module", module=(0.004, ())), lambda: None)
    worked = threading.Event()

    class Disturbed(FakeProfiler):
        def run_block(self, handle, min_s, min_runs):
            slow = handle < 0.005 and worked.is_set()  # a small model finds its caches full
            return super().run_block(handle * (1.3 if slow else 1.0), min_s, min_runs)

    profiler = Disturbed(lambda model: model, noise=0.005)
    session = Session(Bench(profiler, NoLease(), profiler.clock, watch=Machine()), RunSpec(), "fake", 4, seed=0)
    session.open(Artifact("module", module=(0.010, ())))
    rounds = session._rounds

    def once_it_works(names, count):
        if work_is_beside():
            worked.wait(20)
        return rounds(names, count)

    def work_is_beside():
        return any("work" in thread.name for thread in threading.enumerate())

    session._rounds = once_it_works
    assert not session.undisturbed(Artifact("module", module=(0.004, ())), worked.set)


def test_work_that_slows_all_models_alike_is_not_let_in():
    session, profiler, _ = opened()
    beside = threading.Event()
    true = profiler.run_block
    profiler.run_block = lambda handle, *limits: true(handle * (1.6 if beside.wait(0.01) else 1.0), *limits)
    assert not session.undisturbed(Artifact("module", module=(0.004, ())), beside.set)


def test_work_that_fails_tells_nothing_and_a_failing_measurement_ends_it():
    session, profiler, _ = opened()

    def fails():
        raise ValueError("nan")

    assert not session.undisturbed(Artifact("module", module=(0.004, ())), fails)
    true, calls = profiler.run_block, iter(range(10**6))

    def dies(handle, *limits):
        if next(calls) > 20:
            raise DeviceError(expected="an answer", received="none", cure="")
        return true(handle, *limits)

    profiler.run_block = dies
    before = threading.active_count()
    with pytest.raises(DeviceError):
        session.undisturbed(Artifact("module", module=(0.004, ())), lambda: None)
    assert threading.active_count() == before


def test_a_dense_model_that_was_never_seen_in_a_quiet_moment_is_not_valid():
    _, _, dense = opened(steal=1.5, threads=2, crowded=True)
    assert not dense["latency"].valid


def test_a_finished_model_is_held_to_the_wall():
    session, profiler, _ = opened(noise=0.01)
    profiler.steal = 1.05
    found = Session.measure(session, Artifact("module", module=(0.004, ())), {}, finished=True)["latency"]
    assert found.n > session.measure(0.004, {})["latency"].n
