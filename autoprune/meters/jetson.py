"""The INA3221 sensors of a Jetson's power rails, as Linux shows them under hwmon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from autoprune.meters._integral import Integral

_HWMON: Final = Path("/sys/class/hwmon")
#: The rail before all others; a board that has none is the sum of its rails.
_WHOLE: Final = "VDD_IN"


def create(hwmon: str | Path = _HWMON) -> Integral | None:
    """hwmon: another folder of sensors."""
    rails: dict[str, Path] = {}
    try:
        for sensor in sorted(Path(hwmon).glob("hwmon*")):
            if (sensor / "name").read_text().strip() == "ina3221":
                rails |= {_text(label): label for label in sorted(sensor.glob("in*_label"))}
        rails = {name: label for name, label in rails.items() if _current(label).exists()}
        chosen = [rails[_WHOLE]] if _WHOLE in rails else [*rails.values()]
        _watts(chosen)
    except (OSError, ValueError):  # no such folder, or one that may not be read
        return None
    return Integral(lambda: _watts(chosen)) if chosen else None


def _watts(labels: Sequence[Path]) -> float:
    """Volts times amperes of each rail; the files have thousandths of both."""
    volts = (float(_text(label.with_name(label.name.replace("label", "input")))) for label in labels)
    return sum(each * float(_text(_current(label))) / 1e6 for each, label in zip(volts, labels, strict=True))


def _current(label: Path) -> Path:
    """The file of a rail's current: `curr1_input` beside `in1_label`."""
    return label.with_name(label.name.replace("in", "curr", 1).replace("label", "input"))


def _text(file: Path) -> str:
    return file.read_text().strip()
