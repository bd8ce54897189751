"""How whole models relate to the sums of their units. Knows a table of units; not what is made of it.

A model takes nearly the sum of its units. What the sum misses (calls between units, caches that one unit leaves warm to
the next) is the same for all models cut from one, so a few whole models that were measured calibrate it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autoprune.cost_model.table import Table
from autoprune.cost_model.units import Unit

#: How strongly operators' scales are drawn towards a common one; the first leaves hardly any of their own.
_PULLS: Final = (30.0, 1.0, 0.3, 0.1)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """latency = offset + sum over operators of scale x seconds of their units.

    scales: by operator, of others `scale`; error: the relative standard deviation of predictions of models that were
    left out in turn; count: of whole models measured.
    """

    scale: float
    offset: float
    error: float
    count: int
    scales: Mapping[str, float] = field(default_factory=dict)


def calibrated(table: Table, seen: Sequence[tuple[Sequence[Unit], float]]) -> Calibration:
    """Fit whole models, each with its units and its measured seconds.

    Each operator may have a scale of its own, drawn towards one for all; how strongly, and whether there is an offset,
    is what predicts left-out models best.
    """
    operators = sorted({unit.operator for units, _ in seen for unit in units})
    sums = np.zeros((len(seen), len(operators)))
    for row, (units, _) in enumerate(seen):
        for unit in units:
            sums[row, operators.index(unit.operator)] += table.seconds(unit)[0]
    seconds = np.array([measured for _, measured in seen])
    best: tuple[float, float, bool] = (float("inf"), _PULLS[0], False)
    for pull in _PULLS:
        for offset in (False, True):
            best = min(best, (_left_out(sums, seconds, pull, offset=offset), pull, offset))
    error, pull, offset = best
    scales, base = _fit(sums, seconds, pull, offset=offset)
    scale = float(np.average(scales, weights=sums.sum(axis=0) + 1e-12))
    named = dict(zip(operators, scales.tolist(), strict=True))
    return Calibration(scale, base, error, len(seen), named)


def _fit(sums: Floats, seconds: Floats, pull: float, *, offset: bool) -> tuple[Floats, float]:
    """(scales, offset) of least relative squares; `pull` draws the scales towards their common value."""
    shares = sums / seconds[:, None]
    whole = shares.sum(axis=1)
    # latency = (common + own_k) x sums_k: the first column is the common scale, which nothing draws anywhere.
    columns = np.column_stack([whole, shares, *([1 / seconds] if offset else [])])
    drawn = np.zeros((shares.shape[1], columns.shape[1]))
    drawn[:, 1 : 1 + shares.shape[1]] = pull * np.diag(np.sqrt(shares.mean(axis=0) * whole.mean()) + 1e-9)
    target = np.concatenate([np.ones(len(seconds)), np.zeros(len(drawn))])
    found, *_ = np.linalg.lstsq(np.vstack([columns, drawn]), target, rcond=None)
    return found[0] + found[1 : 1 + shares.shape[1]], float(found[-1]) if offset else 0.0


def _left_out(sums: Floats, seconds: Floats, pull: float, *, offset: bool) -> float:
    """The relative standard deviation of predictions of each model by the others."""
    errors = []
    for place in range(len(seconds)):
        others = np.arange(len(seconds)) != place
        scales, base = _fit(sums[others], seconds[others], pull, offset=offset)
        errors.append(np.log(max(base + float(sums[place] @ scales), 1e-12) / seconds[place]))
    return float(np.sqrt(np.mean(np.square(errors))))
