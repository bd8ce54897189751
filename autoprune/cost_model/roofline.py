"""What a device can do at most with one runtime: operations and bytes a second, measured once and kept.

After Williams, Waterman and Patterson, Roofline (2009). A product of matrices and a sum of long vectors set the roof;
algorithms that save operations, such as Winograd's, can go beyond it, so a share of it is an effective one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from autoprune.cost_model.device_table import time_alone
from autoprune.cost_model.units import Unit, taken_apart
from autoprune.measure.device import Device

_FILE: Final = "roofline.json"


@dataclass(frozen=True)
class Roofline:
    """flops: operations a second (a multiply-add is two); bandwidth: bytes a second between memory and processor."""

    flops: float
    bandwidth: float

    def share(self, flops: float, moved: float, seconds: float) -> float:
        """Which share of what the device could do at most a piece of work reached."""
        return max(flops / self.flops, moved / self.bandwidth) / seconds


def roofline(device: Device) -> Roofline:
    """The device's, from its folder or measured now."""
    known = device.store.read(_FILE)
    if isinstance(known, dict) and set(known) == {"flops", "bandwidth"}:
        return Roofline(**known)
    product, total = taken_apart(device.capabilities.format).peak_units()
    found = Roofline(product.flops / _fastest(device, product), total.moved / _fastest(device, total))
    device.store.write(_FILE, asdict(found))
    return found


def _fastest(device: Device, unit: Unit) -> float:
    blocks: Sequence[float] = time_alone(device, unit, rounds=8)
    return min(blocks)
