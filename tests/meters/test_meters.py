import sys

import pytest

from autoprune.meters import cpu, nvidia, open_meter


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
