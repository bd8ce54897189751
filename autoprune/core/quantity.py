"""Numbers with units, read strictly. Knows the units of each metric; a unit never means two things.

General unit libraries read `5m` as metres and `300M` as molar, so the few forms that a budget needs are read here.
"""

from __future__ import annotations

import math
import re
from typing import Final

from autoprune.errors import UsageError
from autoprune.registry import suggestion

_COUNTS: Final = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES: Final = {
    "B": 1.0,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
_KILOGRAMS: Final = {"ng": 1e-12, "ug": 1e-9, "µg": 1e-9, "mg": 1e-6, "g": 1e-3, "kg": 1.0}
_JOULES: Final = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0}

#: SI unit -> suffix -> factor
UNITS: Final[dict[str, dict[str, float]]] = {
    "s": _SECONDS,
    "B": _BYTES,
    "J": _JOULES,
    "kg": _KILOGRAMS,
    "1/s": {"/s": 1.0, "k/s": 1e3, "M/s": 1e6},
    "1": _COUNTS,
}
_DURATION: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([^0-9.]*)", re.ASCII)


def split(text: str) -> tuple[float, str]:
    """`"5.5ms"` -> (5.5, "ms").

    Raises:
        UsageError: not one finite decimal number followed by at most one suffix.
    """
    match = _NUMBER.fullmatch(text)
    number = float(match.group(1)) if match else math.nan
    if match is None or not math.isfinite(number):
        raise UsageError(
            expected="a finite decimal number and a unit",
            received=repr(text),
            cure="write for example 5ms, 60% or 1.5M",
        )
    return number, match.group(2)


def scale(suffix: str, unit: str, text: str) -> float:
    """The factor that turns a number written with `suffix` into SI `unit`; `text` is quoted in the error."""
    known = UNITS[unit]
    if suffix not in known:
        hint = suggestion(suffix, known, cutoff=0.5)
        listed = ", ".join(name for name in known if name)
        raise UsageError(
            expected=f"one of the units {listed}", received=repr(text), cure=f"{hint}give the number one of these units"
        )
    return known[suffix]


def duration(text: str) -> float:
    """Seconds of a time limit such as `90s`, `10m` or `2h`."""
    match = _NUMBER.fullmatch(text)
    number, suffix = (float(match.group(1)), match.group(2)) if match else (0.0, "")
    if suffix not in _DURATION or not 0 < number < math.inf:
        raise UsageError(
            expected="a positive time such as 90s, 10m or 2h", received=repr(text), cure="use one of the units s, m, h"
        )
    return number * _DURATION[suffix]


def seconds(limit: float | str | None) -> float | None:
    """A time limit as `duration` reads it, or as the number of seconds that it is; None for none."""
    return duration(limit) if isinstance(limit, str) else limit


def show_interval(value: float, low: float, high: float, unit: str) -> str:
    """`4.8 ms [4.5 ms, 5.1 ms]`; the value alone where it is exact."""
    return show(value, unit) if low == high else f"{show(value, unit)} [{show(low, unit)}, {show(high, unit)}]"


def show(value: float, unit: str) -> str:
    """A value in SI, written for people: 0.005 s -> `5 ms`."""
    steps: tuple[tuple[str, float], ...]
    if unit == "s":
        steps = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
    elif unit == "B":
        steps = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))
    elif unit == "J":
        steps = (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6))
    elif unit == "kg":
        steps = (("kg", 1.0), ("g", 1e-3), ("mg", 1e-6), ("ug", 1e-9), ("ng", 1e-12))
    elif unit == "1/s":
        return f"{value:.4g}/s"
    else:
        steps = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
        if abs(value) < 1e3:
            return f"{value:.4g}"
    for suffix, factor in steps:
        if abs(value) >= factor or suffix == steps[-1][0]:
            space = "" if unit == "1" else " "
            return f"{value / factor:.4g}{space}{suffix}"
    raise ValueError(unit)


def magnitude(count: int) -> str:
    """A count that may be beyond any float."""
    return str(count) if count < 10_000 else f"about 10^{len(str(count)) - 1}"


def spell(seconds: float) -> str:
    """Seconds for people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
