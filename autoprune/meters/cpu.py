"""The processor packages' own counters (Intel and AMD RAPL), as Linux shows them under powercap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_POWERCAP: Final = Path("/sys/class/powercap")


@dataclass
class PowercapMeter:
    """All processor packages, idle power included."""

    packages: tuple[Path, ...]

    def __post_init__(self) -> None:
        self._ranges = [float((package / "max_energy_range_uj").read_text()) for package in self.packages]
        self._last = [self._raw(package) for package in self.packages]
        self._total = 0.0

    def read(self) -> float:
        for place, package in enumerate(self.packages):
            now = self._raw(package)
            # The counter begins anew when its range is full.
            self._total += now - self._last[place] + (self._ranges[place] if now < self._last[place] else 0.0)
            self._last[place] = now
        return self._total / 1e6

    @staticmethod
    def _raw(package: Path) -> float:
        return float((package / "energy_uj").read_text())


def create(powercap: str | Path = _POWERCAP) -> PowercapMeter | None:
    """powercap: another folder of zones, as containers may have it."""
    found = sorted(Path(powercap).glob("*-rapl:[0-9]"))
    try:
        # Beside packages there may be a zone of the whole platform, which includes them.
        packages = tuple(zone for zone in found if (zone / "name").read_text().startswith("package"))
        return PowercapMeter(packages) if packages else None
    except OSError:  # readable by root only, as most distributions have it
        return None
