"""How fast a device was in earlier runs. Knows a log of looks at it: latency tomorrow depends on tomorrow's device.

A run that happens in one of a shared machine's good hours would promise too much. So each run leaves a line: how long a
fixed piece of work took, and how far the reference wandered. The next run widens its intervals by what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoprune.store.device import DeviceStore

_FILE: Final = "speed.jsonl"
#: So many of the last looks count.
_LOOKS: Final = 60
#: Fewer say nothing of how a device usually is.
_FEWEST: Final = 5
#: The slowest and fastest tenth of all looks are left out: a promise for nine days out of ten.
_SHARE: Final = 10


@dataclass(frozen=True)
class Wander:
    """By which factors the device may be slower and faster than when it was looked at; 1 where nothing is known."""

    slower: float = 1.0
    faster: float = 1.0


#: A device of which nothing else is known.
STEADY: Final = Wander()


def wander(store: DeviceStore, present: float) -> Wander:
    """What earlier looks say; present: seconds that the fixed piece of work takes now."""
    looks = [entry for entry in store.lines(_FILE) if _good(entry)][-_LOOKS:]
    if len(looks) < _FEWEST:
        return STEADY
    slow = np.percentile([look["seconds"] * look["slower"] for look in looks], 100 - _SHARE) / present
    fast = np.percentile([look["seconds"] * look["faster"] for look in looks], _SHARE) / present
    return Wander(max(float(slow), 1.0), min(float(fast), 1.0))


def remember(store: DeviceStore, present: float, opening: float, windows: Sequence[float]) -> None:
    """Leave a line; opening: the reference's latency when the fixed piece of work took `present`; windows: each time
    somebody looked."""
    low, high = np.percentile(windows, (_SHARE, 100 - _SHARE)) / opening
    store.append(_FILE, {"seconds": present, "slower": float(high), "faster": float(low)})


def _good(entry: object) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), float) and entry[key] > 0 for key in ("seconds", "slower", "faster")
    )
