import numpy as np
import pytest

from autoprune.measure.history import Look, forget, remember, wander
from autoprune.store.device import DeviceStore
from autoprune.testing.fakes import FakeClock

DAY = 86400


@pytest.fixture
def clock():
    clock = FakeClock()
    clock.now = 1000 * DAY
    return clock


def look(seconds, *factors):
    return Look.of(seconds, np.array(factors or (1.0,)))


def test_slow_hours_of_earlier_runs_count_and_a_few_looks_do_not(tmp_path, clock):
    store = DeviceStore(tmp_path)
    for seconds in (1.0, 1.0, 1.0, 1.4):
        remember(store, look(seconds), clock)
    assert wander(store, 1.0, clock).slower == 1.0
    for _ in range(4):
        remember(store, look(1.4), clock)
    assert wander(store, 1.0, clock).slower == pytest.approx(1.4)
    assert wander(store, 1.4, clock).slower == 1.0


def test_a_run_in_which_the_device_slowed_down_is_remembered_as_slow(tmp_path, clock):
    store = DeviceStore(tmp_path)
    for _ in range(5):
        remember(store, look(1.0, *[1.0] * 2, *[1.4] * 8), clock)
    assert wander(store, 1.0, clock).slower == pytest.approx(1.4)


def test_slow_hours_fade_with_time(tmp_path, clock):
    store = DeviceStore(tmp_path)
    for _ in range(5):
        remember(store, look(1.4), clock)
    clock.advance(90 * DAY)
    for _ in range(5):
        remember(store, look(1.0), clock)
    found = wander(store, 1.0, clock)
    assert found.slower == pytest.approx(1.0)
    assert found.looks == 10
    assert found.age == pytest.approx(0.0)


def test_a_past_can_be_forgotten(tmp_path, clock):
    store = DeviceStore(tmp_path)
    for _ in range(6):
        remember(store, look(1.4), clock)
    assert forget(store) == 6
    assert wander(store, 1.0, clock).slower == 1.0


def test_a_broken_log_is_no_error(tmp_path, clock):
    store = DeviceStore(tmp_path)
    (tmp_path / "looks.jsonl").write_text('{"seconds": "x"}\nnot json\n[]\n{"seconds": -1}\n' * 4)
    assert wander(store, 1.0, clock).looks == 0
