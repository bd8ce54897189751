from contextlib import nullcontext

import pytest

from autoprune.core.measurement import RunSpec
from autoprune.measure.session import Session
from autoprune.testing.fakes import FakeProfiler


def opened(**options):
    profiler = FakeProfiler(lambda model: model, **options)
    session = Session(profiler, RunSpec(), nullcontext(), (), 4, seed=0)
    return session, profiler, session.open(0.010)


def test_a_quiet_device_gives_exact_numbers():
    session, profiler, dense = opened()
    found = session.measure(0.004, {})
    assert dense["latency"].value == pytest.approx(0.010)
    assert found["latency"].value == pytest.approx(0.004)
    assert found["latency.relative"].value == pytest.approx(0.4)
    assert found["throughput"].value == pytest.approx(1000)
    assert found["latency"].valid
    assert found["latency"].converged
    assert profiler.released == 1


def test_candidates_are_ordered_right_while_the_device_wanders():
    session, _, _ = opened(noise=0.02, wave=0.3)
    true = [0.0040, 0.0042, 0.0044, 0.0046, 0.0048]
    found = [session.measure(seconds, {})["latency"].value for seconds in true]
    assert found == sorted(found)


def test_the_interval_says_where_the_device_will_be_found_again():
    session, _, _ = opened(wave=0.2)
    for _ in range(60):
        found = session.measure(0.004, {})["latency"]
    assert found.low <= 0.004 * 0.85
    assert found.high >= 0.004 * 1.15


def test_near_a_bound_more_blocks_are_spent_than_far_from_it():
    near = opened(noise=0.05)[0].measure(0.004, {"latency": 0.004})["latency"].n
    far = opened(noise=0.05)[0].measure(0.004, {"latency": 0.1})["latency"].n
    assert near > far


def test_other_work_on_the_processor_makes_a_number_uncertain():
    session, _, _ = opened(steal=1.5)
    found = session.measure(0.004, {})["latency"]
    assert not found.valid
    assert "other work" in found.note


def test_too_much_noise_is_said_to_be_so():
    session, _, _ = opened(noise=1.0)
    assert not session.measure(0.004, {})["latency"].converged


def test_earlier_numbers_are_restated_when_the_reference_was_first_seen_in_a_bad_moment():
    session, profiler, _ = opened()
    session.windows[:] = [0.015] * 3
    session.typical = 0.015
    early = session.measure(0.004, {})
    assert early["latency"].value == pytest.approx(0.006)
    for _ in range(6):
        session.measure(0.004, {})
    session.reference()
    assert session.restated(early)["latency"].value == pytest.approx(0.004)
    assert profiler.released == 7
