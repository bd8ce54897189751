"""Energy counters of processors and graphics cards. Knows powercap and NVML; without them nothing is guessed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

_POWERCAP: Final = Path("/sys/class/powercap")


class Meter(Protocol):
    """A counter of joules."""

    def read(self) -> float:
        """Joules since an arbitrary moment."""
        ...


@dataclass
class PowercapMeter:
    """All processor packages, idle power included (Intel and AMD RAPL, as Linux shows it)."""

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


@dataclass
class NvmlMeter:
    """One NVIDIA card, the whole board."""

    nvml: Any
    handle: Any

    def read(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3


def meter(kind: str, powercap: Path = _POWERCAP) -> Meter | None:
    """The meter of a kind of device ("cpu", "nvidia"); None where this machine has none that may be read."""
    if kind == "cpu":
        found = sorted(powercap.glob("*-rapl:[0-9]")) if powercap.is_dir() else []
        try:
            # Beside packages there may be a zone of the whole platform, which includes them.
            packages = tuple(zone for zone in found if (zone / "name").read_text().startswith("package"))
            return PowercapMeter(packages) if packages else None
        except OSError:  # readable by root only, as most distributions have it
            return None
    if kind == "nvidia":
        try:
            import pynvml

            pynvml.nvmlInit()
            seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
            by_name = seen.startswith("GPU-")
            handle = pynvml.nvmlDeviceGetHandleByUUID(seen) if by_name else None
            return NvmlMeter(pynvml, handle or pynvml.nvmlDeviceGetHandleByIndex(int(seen or 0)))
        except Exception:  # no library, no driver, no card: each with an exception of its own
            return None
    return None
