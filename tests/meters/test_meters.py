import itertools
import sys

import pytest

from autoprune.errors import DeviceError, UsageError
from autoprune.meters import cpu, jetson, nvidia, open_meter
from autoprune.meters._integral import Integral


def powercap(root, *microjoules):
    for place, value in enumerate(microjoules):
        package = root / f"intel-rapl:{place}"
        package.mkdir(parents=True, exist_ok=True)
        (package / "energy_uj").write_text(str(value))
        (package / "max_energy_range_uj").write_text("1000000")
        (package / "name").write_text(f"package-{place}")
    return root


def test_packages_add_up_and_wrapped_counters_lose_nothing(tmp_path):
    platform = powercap(tmp_path, 0, 0, 700_000) / "intel-rapl:2"
    (platform / "name").write_text("psys")
    found = cpu.create(powercap(tmp_path, 900_000, 100_000))
    assert isinstance(found, cpu.PowercapMeter)
    start = found.read()
    powercap(tmp_path, 50_000, 200_000)
    assert found.read() - start == pytest.approx(0.25)


def test_where_nothing_meters_nothing_is_guessed(tmp_path, monkeypatch):
    assert cpu.create(tmp_path / "none") is None
    assert open_meter("") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia.create() is None


def sensors(root, **milliwatts):
    """Rails at 5 V of one INA3221, beside a sensor of something else."""
    other, ina = root / "hwmon0", root / "hwmon3"
    for folder, name in ((other, "nvme"), (ina, "ina3221")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
    (other / "in1_label").write_text("VDD_IN\n")
    for place, (rail, power) in enumerate(milliwatts.items(), start=1):
        (ina / f"in{place}_label").write_text(f"{rail}\n")
        (ina / f"in{place}_input").write_text("5000\n")
        (ina / f"curr{place}_input").write_text(f"{power / 5:.0f}\n")
    (ina / "in7_label").write_text("sum of shunt voltages\n")
    return root


def test_a_boards_whole_rail_counts_alone_and_others_add_up(tmp_path):
    whole = jetson.create(sensors(tmp_path / "a", VDD_IN=7000, VDD_CPU=2000))
    parts = jetson.create(sensors(tmp_path / "b", VDD_GPU_SOC=3000, VDD_CPU_CV=1500))
    assert [meter._watts() for meter in (whole, parts)] == [pytest.approx(7.0), pytest.approx(4.5)]
    assert jetson.create(tmp_path / "none") is None
    assert jetson.create(sensors(tmp_path / "c")) is None


class Unwatched(Integral):
    def _watch(self):
        """Looked at by its readings alone."""


def test_power_is_integrated_over_time():
    now, watts = itertools.count(0.0, 0.5), iter([2.0, 4.0, 4.0, 0.0])
    meter = Unwatched(lambda: next(watts), lambda: next(now))
    assert [meter.read() for _ in range(3)] == [pytest.approx(1.5), pytest.approx(1.5 + 2.0), pytest.approx(3.5 + 1.0)]


def program(folder, line):
    file = folder / "joules.sh"
    file.write_text(f"#!/bin/sh\ntotal=0\nwhile read _; do\n{line}\ndone\n")
    file.chmod(0o755)
    return f"script:{file}"


def test_a_program_of_ones_own_is_asked_for_each_reading(tmp_path):
    meter = open_meter("cpu", program(tmp_path, "total=$((total + 3)); echo $total"))
    assert [meter.read() for _ in range(3)] == [6.0, 9.0, 12.0]  # 3 was read as it was opened
    meter.ask.close()
    assert meter.answers.read() == ""  # it has ended


@pytest.mark.parametrize(
    ("line", "received"), [("echo watts", "'watts'"), ("exit", "nothing"), ("total=$((total - 1)); echo $total", "-2")]
)
def test_a_program_that_does_not_count_is_named_with_what_it_said(tmp_path, line, received):
    with pytest.raises(DeviceError, match="a count of joules, never falling") as failed:
        open_meter("", program(tmp_path, line)).read()
    assert received in failed.value.received


def test_a_meter_that_was_asked_for_is_there_or_named(tmp_path):
    with pytest.raises(DeviceError, match=r"'jetson:.*none.*without --meter|leave out --meter"):
        open_meter("cpu", f"jetson:{tmp_path}")
    with pytest.raises(DeviceError, match="to start"):
        open_meter("", f"script:{tmp_path / 'missing.sh'}")
    with pytest.raises(UsageError, match="did you mean 'jetson'"):
        open_meter("", "jetsn")
