"""How long units of work take on one device. Knows exact sizes that were measured, and what lies between them.

A device's table grows from model to model: what was measured once, under one fingerprint, is not measured again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from autoprune.bench.bench import AnyBench
from autoprune.core.clock import Clock
from autoprune.cost_model.units import Unit
from autoprune.errors import DeviceError
from autoprune.measure import estimator
from autoprune.store.device import DeviceStore

_FILE: Final = "table.json"
_SCHEMA: Final = 1
#: Models that a session holds meanwhile: a reference, anchors, and the unit that all are measured beside.
_HELD: Final = 5
#: Units that are measured side by side, with the one that tells how fast the device is at the moment.
_TOGETHER: Final = 12
_ROUNDS: Final = 3
_BLOCK_S: Final = 0.004
_BLOCK_RUNS: Final = 3
_WARM_S: Final = 0.002
_YARDSTICK: Final = "yardstick"


@dataclass
class Table:
    """Seconds by family and sizes.

    failed: keys of units that do not run alone; they count as what is left for the calibration to explain.
    """

    store: DeviceStore
    entries: dict[str, dict[tuple[int, ...], float]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, store: DeviceStore) -> Table:
        """The table of a device, from earlier runs."""
        return cls(store, _decoded(store.read(_FILE)))

    def keep(self) -> None:
        """Write it down for later runs, beside what other ones have written meanwhile."""
        self.store.change(_FILE, self._beside)

    def _beside(self, raw: Any) -> dict[str, Any]:
        entries = _decoded(raw)
        for family, rows in self.entries.items():
            entries.setdefault(family, {}).update(rows)
        families = {family: [[list(s), t] for s, t in rows.items()] for family, rows in entries.items()}
        return {"schema": _SCHEMA, "families": families}

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """Each unit that was not measured yet, once; what occurs most often comes first."""
        found: dict[str, tuple[int, Unit]] = {}
        for unit in units:
            if unit.sizes not in self.entries.get(_named(unit), {}) and unit.key not in self.failed:
                found[unit.key] = (found.get(unit.key, (0, unit))[0] + 1, unit)
        return [unit for _, unit in sorted(found.values(), key=lambda counted: -counted[0])]

    def measure(self, bench: AnyBench, units: Sequence[Unit], clock: Clock, limit_s: float) -> int:
        """Measure as many as the time allows; how many that were.

        Each batch is measured beside one and the same unit, so that a device that slows down does not slow its table.
        """
        start, done, present = clock.wall(), 0, 0.0
        if not self._yardstick(bench, units):
            return 0
        together = max(min(_TOGETHER, bench.capabilities().most_handles - _HELD), 1)
        for place in range(0, len(units), together):
            if clock.wall() - start > limit_s:
                break
            names: dict[str, Unit] = {}
            for offset, unit in enumerate(units[place : place + together]):
                name = f"unit {offset}"
                alive = bench.generation()
                try:
                    bench.prepare(name, unit.artifact(), _WARM_S)
                except DeviceError:  # an operator that needs its model around it
                    self.failed.add(unit.key)
                    if bench.generation() != alive:  # and that took its process down
                        names.clear()
                        self._yardstick(bench, units)
                    continue
                names[name] = unit
            if not names:
                continue
            rounds = bench.rounds([_YARDSTICK, *names], _ROUNDS, _BLOCK_S, _BLOCK_RUNS, place)
            now = float(np.median([estimator.median(blocks[0]) for blocks in rounds]))
            present = present or now
            for column, (name, unit) in enumerate(names.items(), start=1):
                seconds = float(np.median([estimator.median(blocks[column]) for blocks in rounds]))
                self.entries.setdefault(_named(unit), {})[unit.sizes] = seconds * present / now
                bench.release(name)
                done += 1
        bench.release(_YARDSTICK)
        return done

    def _yardstick(self, bench: AnyBench, units: Sequence[Unit]) -> bool:
        """Prepare a unit with much to do, whose time says how fast the device is; False where none runs alone."""
        for unit in sorted(units, key=lambda unit: -(unit.flops + unit.moved)):
            try:
                bench.prepare(_YARDSTICK, unit.artifact(), _WARM_S)
            except DeviceError:
                self.failed.add(unit.key)
                continue
            return True
        return False

    def seconds(self, unit: Unit) -> tuple[float, bool]:
        """How long a unit takes, and whether that was measured; else it is what its nearest relatives say.

        Unknown families take no time here: whole models tell what they add.
        """
        rows = self.entries.get(_named(unit), {})
        if unit.sizes in rows:
            return rows[unit.sizes], True
        return (_between(rows, unit.sizes), False) if rows else (0.0, False)


def _decoded(raw: Any) -> dict[str, dict[tuple[int, ...], float]]:
    """Entries as `Table.keep` wrote them; none of what is something else, as all can be measured again."""
    try:
        return {
            family: {tuple(map(int, sizes)): float(seconds) for sizes, seconds in rows}
            for family, rows in (raw["families"] if raw["schema"] == _SCHEMA else {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _named(unit: Unit) -> str:
    """A family with so many sizes: of tensors of another rank the numbers mean something else."""
    return hashlib.sha256(f"{unit.family} {len(unit.sizes)}".encode()).hexdigest()[:20]


def _between(rows: dict[tuple[int, ...], float], sizes: tuple[int, ...]) -> float:
    """A local linear fit of log seconds over log sizes, nearer rows counting more."""
    known = np.log1p(np.abs(np.array(list(rows), np.float64)))
    wanted = np.log1p(np.abs(np.array(sizes, np.float64)))
    seconds = np.log(np.array(list(rows.values())))
    varies = np.ptp(known, axis=0) > 0
    known, wanted = known[:, varies], wanted[varies]
    if not known.size:
        return float(np.exp(np.median(seconds)))
    distance = np.linalg.norm(known - wanted, axis=1)
    nearest = np.argsort(distance)[: 4 * (known.shape[1] + 1)]
    weight = 1 / (distance[nearest] + 0.05)
    rows_: Any = np.column_stack([np.ones(len(nearest)), known[nearest] - wanted]) * weight[:, None]
    ridge = np.sqrt(1e-3) * np.eye(rows_.shape[1])
    ridge[0, 0] = 0.0
    found, *_ = np.linalg.lstsq(
        np.vstack([rows_, ridge]), np.concatenate([seconds[nearest] * weight, np.zeros(len(ridge))]), rcond=None
    )
    low, high = seconds[nearest].min(), seconds[nearest].max()
    return float(np.exp(np.clip(found[0], low - 0.7, high + 0.7)))
