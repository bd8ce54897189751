"""How fast a device was in earlier runs. Knows a log of looks at it: its slow hours are told beside every latency.

A run may happen in one of a shared machine's good hours. So each run that was not disturbed leaves a line: how long a
fixed piece of work took, and how far the dense model's latency wandered in quiet moments. What was seen long ago counts
less, and a line can be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from autoprune.core.clock import Clock
from autoprune.store.device import DeviceStore

_FILE: Final = "looks.jsonl"
#: So many of the last looks count.
_LOOKS: Final = 60
#: Fewer say nothing of how a device usually is.
FEWEST: Final = 5
#: The slowest tenth of all looks is left out: a promise for nine days out of ten.
_SHARE: Final = 0.1
#: A look counts half as much after so many seconds: two weeks.
_HALF_LIFE_S: Final = 14 * 86400.0


@dataclass(frozen=True)
class Look:
    """One run's look at a device.

    Attributes:
        seconds: What a fixed piece of work took at its beginning.
        slower: By which factor the dense model was slower in its slow moments than at the beginning.
        at: When that was, in seconds since 1970; 0 before it is written.
    """

    seconds: float
    slower: float
    at: float = 0.0

    @classmethod
    def of(cls, seconds: float, factors: NDArray[np.float64]) -> Look:
        """From all that was seen, as factors of what was seen first."""
        return cls(seconds, float(np.percentile(factors, 100 * (1 - _SHARE))))


@dataclass(frozen=True)
class Wander:
    """By which factor the device may be slower than now; 1 where nothing is known. looks: how many say so; age: seconds
    since the last of them."""

    slower: float = 1.0
    looks: int = 0
    age: float = 0.0


#: A device of which nothing else is known.
STEADY: Final = Wander()


def wander(store: DeviceStore, present: float, clock: Clock) -> Wander:
    """What earlier looks say.

    Args:
        store: The device's.
        present: Seconds that the fixed piece of work takes now.
        clock: Tells how long ago a look was.
    """
    now = clock.date()
    looks = [look for look in map(_read, store.lines(_FILE)) if look is not None][-_LOOKS:]
    age = now - max((look.at for look in looks), default=now)
    if len(looks) < FEWEST:
        return Wander(looks=len(looks), age=age)
    weights = [0.5 ** (max(now - look.at, 0.0) / _HALF_LIFE_S) for look in looks]
    slow = _percentile([look.seconds * look.slower for look in looks], weights, 1 - _SHARE) / present
    return Wander(max(slow, 1.0), len(looks), age)


def remember(store: DeviceStore, look: Look, clock: Clock) -> None:
    """Leave a line."""
    store.append(_FILE, {**asdict(look), "at": clock.date()})


def forget(store: DeviceStore) -> int:
    """Remove every line; how many there were."""
    return store.remove(_FILE)


def _percentile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """The least value up to which so much of the weight lies."""
    order = np.argsort(values)
    upto = np.cumsum(np.array(weights)[order])
    place = min(int(np.searchsorted(upto, share * upto[-1])), len(values) - 1)
    return float(np.array(values)[order][place])


def _read(entry: Any) -> Look | None:
    """A line as it was written; None where it is something else."""
    try:
        look = Look(**entry)
        good = all(isinstance(each, float | int) and each > 0 for each in asdict(look).values())
    except TypeError:
        return None
    return look if good else None
