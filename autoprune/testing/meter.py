"""What every meter must do. Inherit `MeterConformance` in a test class and set `name`."""

from __future__ import annotations

import math

from autoprune.meters import open_meter


class MeterConformance:
    """A counter that never falls, or None where the machine has none."""

    name: str

    def test_it_is_absent_or_counts_upwards(self) -> None:
        found = open_meter(self.name)
        if found is None:
            return
        readings = [found.read() for _ in range(5)]
        assert all(map(math.isfinite, readings))
        assert readings == sorted(readings)
