import itertools

import numpy as np
import pytest

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import Bench
from autoprune.bench.contention import Watch
from autoprune.bench.lease import NoLease
from autoprune.cost_model.calibration import calibrated
from autoprune.cost_model.layer_profile import layers
from autoprune.cost_model.roofline import Roofline
from autoprune.cost_model.staircase import step
from autoprune.cost_model.table import Table
from autoprune.cost_model.units import Unit
from autoprune.store.device import DeviceStore
from autoprune.testing.fakes import FakeProfiler


def seconds(cin, cout):
    """A layer's true time: linear in its operations, in steps of 8, and a little for calling it."""
    return 2e-6 + 1e-9 * cin * (-(-cout // 8) * 8) * 100


def unit(cin, cout, operator="conv", layer="a"):
    artifact = Artifact("module", module=(seconds(cin, cout), ()))
    return Unit(operator, operator, (cin, cout), layer, 2.0 * cin * cout, 4.0 * (cin + cout), lambda: artifact)


@pytest.fixture
def table(tmp_path):
    return Table(DeviceStore(tmp_path))


def bench(**options):
    profiler = FakeProfiler(lambda model: model, **options)
    return Bench(profiler, NoLease(), profiler.clock, watch=Watch())


GRID = [unit(cin, cout) for cin in range(8, 72, 8) for cout in range(8, 72, 8)]


def test_what_was_measured_is_known_exactly_and_kept_for_the_next_run(table):
    on = bench()
    assert table.measure(on, table.missing(GRID * 2), on.clock, 1e9) == 64
    assert table.missing(GRID) == []
    table.keep()
    again = Table.of(table.store)
    assert again.missing(GRID) == []
    assert again.seconds(unit(16, 32)) == (pytest.approx(seconds(16, 32)), True)


def test_tables_of_two_searches_become_one(table):
    on, other = bench(), Table(table.store)
    table.measure(on, GRID[:10], on.clock, 1e9)
    other.measure(on, GRID[10:20], on.clock, 1e9)
    table.keep()
    other.keep()
    assert Table.of(table.store).missing(GRID[:20]) == []


def test_what_lies_between_is_near(table):
    on = bench()
    table.measure(on, GRID, on.clock, 1e9)
    for cin, cout in ((12, 40), (20, 24), (60, 64)):
        found, exact = table.seconds(unit(cin, cout))
        assert not exact
        assert found == pytest.approx(seconds(cin, cout), rel=0.1)


def test_units_of_another_rank_tell_nothing_of_each_other(table):
    on, wide = bench(), unit(16, 32)
    flat = Unit("conv", "conv", (16,), "a", 32.0, 64.0, wide.artifact)
    table.measure(on, [*GRID[:20], flat], on.clock, 1e9)
    assert table.seconds(unit(11, 13))[0] > 0
    assert table.seconds(Unit("conv", "conv", (1, 2, 3), "a", 12.0, 24.0, wide.artifact)) == (0.0, False)


def test_time_runs_out_without_losing_what_is_there(table):
    on = bench()
    done = table.measure(on, GRID, on.clock, 0.05)
    assert 0 < done < 64


def test_a_device_that_slows_down_does_not_slow_its_table(table):
    on = bench(wave=0.3)
    table.measure(on, GRID, on.clock, 1e9)
    ratios = [table.seconds(each)[0] / seconds(*each.sizes) for each in GRID]
    assert np.std(np.log(ratios)) < 0.05


def test_whole_models_calibrate_sums_and_left_out_ones_give_the_error(table):
    on = bench()
    table.measure(on, [*GRID, *(unit(c, 8, "norm") for c in range(8, 72, 8))], on.clock, 1e9)
    draw = np.random.default_rng(0)

    def model():
        widths = draw.choice(range(8, 72, 8), 5)
        units = [unit(int(a), int(b)) for a, b in itertools.pairwise(widths)]
        units += [unit(int(a), 8, "norm") for a in widths]
        true = sum((0.9 if u.operator == "conv" else 2.0) * seconds(*u.sizes) for u in units)
        return units, true * np.exp(draw.normal(0, 0.01))

    calibration = calibrated(table, [model() for _ in range(14)])
    held = [model() for _ in range(40)]
    sums = [sum(calibration.scales[u.operator] * table.seconds(u)[0] for u in units) for units, _ in held]
    misses = np.log([(calibration.offset + each) / true for each, (_, true) in zip(sums, held, strict=True)])
    assert np.median(np.abs(misses)) < 0.03
    assert np.mean(np.abs(misses) <= 1.96 * max(calibration.error, 0.01)) > 0.85


def test_staircases_are_found_and_slopes_are_none():
    counts = tuple(range(64, 97))
    draw = np.random.default_rng(0)
    noise = np.exp(draw.normal(0, 0.005, len(counts)))
    assert step(counts, tuple(np.array([seconds(64, c) for c in counts]) * noise)) == 8
    assert step(counts, tuple(np.array([1e-6 * c for c in counts]) * noise)) == 1


def test_layers_add_up_to_the_whole_and_know_the_roof(table):
    on = bench()
    units = [unit(8, 8, layer="a"), unit(16, 16, layer="b"), unit(16, 8, layer="b")]
    table.measure(on, units, on.clock, 1e9)
    found = layers(units, table, 1.0, Roofline(flops=1e12, bandwidth=1e12))
    assert [each.name for each in found] == ["a", "b"]
    assert sum(each.seconds for each in found) == pytest.approx(1.0)
    assert found[1].flops == 2.0 * (16 * 16 + 16 * 8)
    assert found[0].roofline == pytest.approx(2.0 * 64 / 1e12 / found[0].seconds)
