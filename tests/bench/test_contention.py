import numpy as np

from autoprune.bench.contention import Watch, between
from autoprune.bench.memory import available, peak_added


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
