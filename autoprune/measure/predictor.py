"""What a plan will cost, without running it. Knows a table of units and how whole models relate to their sums.

A model takes nearly the sum of its units. What the sum misses (calls between units, caches that one unit leaves warm to
the next) is the same for all models cut from one, so a few whole models that were measured calibrate it. A predicted
latency screens candidates; only a measured one is reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoprune.measure.estimator import Interval
from autoprune.measure.table import Table
from autoprune.measure.units import Unit

#: Two-sided 95 % of a normal distribution.
_SIGMAS: Final = 1.96
#: The least relative error that is believed, however few models agreed.
_LEAST: Final = 0.01


@dataclass(frozen=True)
class Calibration:
    """latency = offset + scale x sum of units, with the relative standard deviation of what was left out in turn.

    model: digest of the dense model's units; count: of whole models measured.
    """

    model: str
    scale: float
    offset: float
    error: float
    count: int

    @property
    def key(self) -> str:
        return f"calibration-{self.model}.json"


@dataclass(frozen=True)
class Predictor:
    """Predicts models that are cut from one dense model, on one device."""

    table: Table
    calibration: Calibration

    def predict(self, units: Sequence[Unit]) -> Interval:
        """The latency of a model with these units, in seconds, with its 95 % interval.

        Units that lie between measured ones are less certain: their share of the time adds to the interval.
        """
        found = [self.table.seconds(unit) for unit in units]
        total = sum(seconds for seconds, _ in found)
        guessed = sum(seconds for seconds, exact in found if not exact) / max(total, 1e-12)
        value = max(self.calibration.offset + self.calibration.scale * total, 1e-9)
        width = _SIGMAS * float(np.hypot(max(self.calibration.error, _LEAST), 0.1 * guessed))
        return Interval(value, value * float(np.exp(-width)), value * float(np.exp(width)))


def calibrated(table: Table, model: str, seen: Sequence[tuple[Sequence[Unit], float]]) -> Calibration:
    """Fit scale and offset to whole models with their measured seconds; the offset only where it predicts better."""
    sums = np.array([sum(table.seconds(unit)[0] for unit in units) for units, _ in seen])
    seconds = np.array([measured for _, measured in seen])
    fits = [_left_out(sums, seconds, offset=offset) for offset in (False, True)] if len(seen) > 3 else [(0.0, False)]
    error, offset = min(fits, key=lambda fit: fit[0])
    scale, base = _fit(sums, seconds, offset=offset)
    return Calibration(model, scale, base, error or _LEAST, len(seen))


def digest(units: Sequence[Unit]) -> str:
    """Names a model by its units."""
    return hashlib.sha256("".join(unit.key for unit in units).encode()).hexdigest()[:16]


def _fit(sums: np.ndarray, seconds: np.ndarray, *, offset: bool) -> tuple[float, float]:
    """(scale, offset) of least relative squares."""
    weight = 1 / seconds
    columns = [sums * weight, weight] if offset else [sums * weight]
    found, *_ = np.linalg.lstsq(np.column_stack(columns), np.ones(len(seconds)), rcond=None)
    return float(found[0]), float(found[1]) if offset else 0.0


def _left_out(sums: np.ndarray, seconds: np.ndarray, *, offset: bool) -> tuple[float, bool]:
    """The relative standard deviation of predictions of each model by the others."""
    errors = []
    for place in range(len(seconds)):
        others = np.arange(len(seconds)) != place
        scale, base = _fit(sums[others], seconds[others], offset=offset)
        errors.append(np.log(max(base + scale * sums[place], 1e-12) / seconds[place]))
    return float(np.sqrt(np.mean(np.square(errors)))), offset
