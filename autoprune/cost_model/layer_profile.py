"""Where the time goes: a model's units by the module that they belong to. Knows sums and shares only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.cost_model.roofline import Roofline
from autoprune.cost_model.table import Table
from autoprune.cost_model.units import Unit


@dataclass(frozen=True)
class Layer:
    """One module's own work.

    seconds: its units alone, scaled so that all layers add up to the whole model; share: of the model; flops, moved:
    operations and bytes; intensity: operations a byte; roofline: share of what the device could do at most in these
    seconds.
    """

    name: str
    seconds: float
    share: float
    flops: float
    moved: float
    intensity: float
    roofline: float


def layers(units: Sequence[Unit], table: Table, whole: float, roof: Roofline) -> list[Layer]:
    """Modules in the order in which they run; whole: seconds of the model."""
    gathered: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        gathered[unit.layer].append(unit)
    alone = {name: sum(table.seconds(unit)[0] for unit in own) for name, own in gathered.items()}
    scale = whole / max(sum(alone.values()), 1e-12)
    found = []
    for name, own in gathered.items():
        seconds, flops, moved = alone[name] * scale, sum(u.flops for u in own), sum(u.moved for u in own)
        reached = roof.share(flops, moved, seconds) if seconds else 0.0
        found.append(
            Layer(
                name=name,
                seconds=seconds,
                share=seconds / whole,
                flops=flops,
                moved=moved,
                intensity=flops / max(moved, 1.0),
                roofline=reached,
            )
        )
    return found
