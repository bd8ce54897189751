"""What a device can do at most with one runtime: operations and bytes a second, kept once it was seen in a calm moment.

After Williams, Waterman and Patterson, Roofline (2009). A product of matrices and a sum of long vectors set the roof;
algorithms that save operations, such as Winograd's, can go beyond it, so a share of it is an effective one. The fastest
run counts; on one thread of a processor by the time that the process worked, which others do not make longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autoprune.bench.contention import quiet
from autoprune.core.measurement import Block
from autoprune.cost_model.device_table import blocks_alone
from autoprune.cost_model.units import Unit, taken_apart
from autoprune.measure.device import Device

#: Of measured roofs, since only calm ones are kept.
_FILE: Final = "roof.json"
#: Blocks of each piece of work, and how many of them must be quiet.
_BLOCKS, _CALM = 24, 6


@dataclass(frozen=True)
class Roofline:
    """flops: operations a second (a multiply-add is two); bandwidth: bytes a second between memory and processor; calm:
    whether other work left the device alone meanwhile; else it can do more than this."""

    flops: float
    bandwidth: float
    calm: bool = True

    def share(self, flops: float, moved: float, seconds: float) -> float:
        """Which share of what the device could do at most a piece of work reached."""
        return max(flops / self.flops, moved / self.bandwidth) / seconds


def roofline(device: Device) -> Roofline:
    """The device's: from its folder, or measured now, and kept where that was a calm moment. One is waited for as long
    as the dense model would wait for it."""
    known = device.store.read(_FILE)
    if isinstance(known, dict) and set(known) == {"flops", "bandwidth"}:
        return Roofline(**known)
    product, total = taken_apart(device.capabilities.format).peak_units()
    single = device.capabilities.cpu_time and device.setup.spec.threads == 1
    worked, moved = _fastest(device, product, single), _fastest(device, total, single)
    found = Roofline(product.flops / worked[0], total.moved / moved[0], worked[1] and moved[1])
    if found.calm:
        device.store.write(_FILE, {"flops": found.flops, "bandwidth": found.bandwidth})
    return found


def _fastest(device: Device, unit: Unit, single: bool) -> tuple[float, bool]:
    """Seconds of the fastest run, and whether that was in a calm moment."""
    blocks = blocks_alone(device, unit, _BLOCKS)
    if len(_quiet(blocks, single)) < _CALM:
        device.bench.settle(device.setup.limits.wait_s)
        blocks = [*blocks, *blocks_alone(device, unit, _BLOCKS)]
    calm = _quiet(blocks, single)
    enough = len(calm) >= _CALM
    return min(min(each.cpu_s if single else each.wall_s) for each in (calm if enough else blocks)), enough


def _quiet(blocks: Sequence[Block], single: bool) -> list[Block]:
    return [block for block in blocks if quiet(block, single=single)]
