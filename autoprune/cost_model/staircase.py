"""At which multiples of channels latency really steps. Knows sweeps over counts; kernels work in tiles, and half a tile
costs a whole one, so that a count between two steps is paid for and not used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from autoprune.core.group import Group, Kind
from autoprune.cost_model.device_table import DeviceTable
from autoprune.cost_model.units import Unit
from autoprune.surgery import apply
from autoprune.surgery.cut_model import CutModel

MULTIPLES: Final = (1, 2, 4, 8, 16, 32)
#: Counts in a row that are measured, and kinds of group that have so many.
_SPAN: Final = 32
_KINDS: Final[tuple[Kind, ...]] = ("channel", "neuron", "embedding", "hidden")
#: By how much a staircase must explain the sweep better than a slope for it to be one.
_BETTER: Final = 0.7


@dataclass(frozen=True)
class Staircase:
    """The sweep of one group: seconds of the unit that costs most among those it touches, by count kept.

    multiple: of counts at which latency steps (1: a slope); saving: what a step saves, relative to the dense unit.
    """

    group: str
    kind: Kind
    counts: tuple[int, ...]
    seconds: tuple[float, ...]
    multiple: int
    saving: float


def staircases(known: DeviceTable, groups: Sequence[Group], limit_s: float) -> Iterator[Staircase]:
    """One sweep for each group that is wide enough, those with most operations first, as far as time allows."""
    clock = known.device.spec.clock
    start = clock.wall()
    dense = known.units(CutModel(known.device.spec.dense))
    wide = [g for g in groups if g.kind in _KINDS and g.size > _SPAN // 2 and g.step == 1 and not g.tie]
    for group in sorted(wide, key=lambda group: -group.share_flops):
        if clock.wall() - start > limit_s:
            return
        counts = _counts(group.size)
        swept = [_units(known, group, count) for count in counts]
        touched = [k for k, (unit, whole) in enumerate(zip(swept[0], dense, strict=False)) if unit.key != whole.key]
        if not touched or any(len(units) != len(dense) for units in swept):
            continue  # another count is another graph
        heaviest = max(touched, key=lambda place: dense[place].flops)
        column = [units[heaviest] for units in swept]
        known.fill(column, limit_s)
        seconds = tuple(known.table.seconds(unit)[0] for unit in column)
        multiple = step(counts, seconds)
        saving = float(np.polyfit(counts, seconds, 1)[0]) * multiple / max(seconds[-1], 1e-12)
        yield Staircase(
            group=group.name, kind=group.kind, counts=counts, seconds=seconds, multiple=multiple, saving=saving
        )


def step(counts: Sequence[int], seconds: Sequence[float]) -> int:
    """The multiple whose staircase explains a sweep best; 1 where a slope does as well."""
    errors = {multiple: _error(counts, seconds, multiple) for multiple in MULTIPLES if 2 * multiple <= len(counts)}
    best = min(errors, key=lambda multiple: (errors[multiple], multiple))
    return best if errors[best] < _BETTER * errors[1] else 1


def _error(counts: Sequence[int], seconds: Sequence[float], multiple: int) -> float:
    """What a line over counts rounded up to the multiple leaves unexplained."""
    rounded = np.ceil(np.array(counts) / multiple) * multiple
    columns = np.column_stack([np.ones(len(counts)), rounded])
    found, *_ = np.linalg.lstsq(columns, np.array(seconds), rcond=None)
    return float(np.sum((columns @ found - np.array(seconds)) ** 2))


def _counts(size: int) -> tuple[int, ...]:
    """Counts in a row around three quarters of a group."""
    last = min(max(size * 3 // 4 // _SPAN * _SPAN + _SPAN, _SPAN), size)
    return tuple(range(max(last - _SPAN, 1), last + 1))


def _units(known: DeviceTable, group: Group, count: int) -> list[Unit]:
    """The units of the model whose one group keeps so many slices."""
    spec = known.device.spec
    if spec.traced is None:
        return []
    slices = {group.name: torch.arange(count)} if count < group.size else {}
    return known.units(CutModel(apply(spec.dense, spec.traced, slices).eval(), slices=slices))
