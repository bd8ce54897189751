import sys

import numpy as np
import pytest

from autoprune.measure.contention import Watch, between
from autoprune.measure.energy import PowercapMeter, meter
from autoprune.measure.memory import available, peak_added


def powercap(root, *microjoules):
    for place, value in enumerate(microjoules):
        package = root / f"intel-rapl:{place}"
        package.mkdir(parents=True, exist_ok=True)
        (package / "energy_uj").write_text(str(value))
        (package / "max_energy_range_uj").write_text("1000000")
        (package / "name").write_text(f"package-{place}")
    return root


def test_packages_are_added_up_and_a_counter_that_begins_anew_loses_nothing(tmp_path):
    platform = powercap(tmp_path, 0, 0, 700_000) / "intel-rapl:2"
    (platform / "name").write_text("psys")
    found = meter("cpu", powercap(tmp_path, 900_000, 100_000))
    assert isinstance(found, PowercapMeter)
    start = found.read()
    powercap(tmp_path, 50_000, 200_000)
    assert found.read() - start == pytest.approx(0.25)


def test_where_nothing_meters_nothing_is_guessed(tmp_path, monkeypatch):
    assert meter("cpu", tmp_path / "none") is None
    assert meter("") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert meter("nvidia") is None


def test_the_peak_of_a_piece_of_work_is_seen_after_it_is_gone():
    def work():
        return np.ones(32 * 2**20 // 8).sum()

    peak_added(work)
    assert 30 * 2**20 < peak_added(work) < 40 * 2**20
    assert available() > 0


def test_counters_become_shares(tmp_path):
    pressure, stat = tmp_path / "pressure", tmp_path / "stat"
    watch = Watch(pressure, stat)
    pressure.write_text("some avg10=25.00 avg60=1.00 avg300=0.00 total=1000000\n")
    stat.write_text("cpu 100 0 0 0 0 0 0 0 0 0\n")
    before = watch.read()
    pressure.write_text("some avg10=25.00 avg60=1.00 avg300=0.00 total=1500000\n")
    stat.write_text("cpu 190 0 0 0 0 0 0 10 0 0\n")
    assert between(before, watch.read(), 2.0) == (0.25, 0.1)
    assert watch.pressing() == 0.25


def test_a_system_that_tells_nothing_is_no_error(tmp_path):
    watch = Watch(tmp_path / "a", tmp_path / "b")
    assert between(watch.read(), watch.read(), 1.0) == (0.0, 0.0)
    assert watch.pressing() == 0.0
