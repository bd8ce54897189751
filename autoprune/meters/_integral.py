"""Joules out of watts: for sensors that tell power and count no energy. Knows time; not what is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

#: Seconds between two looks at a sensor, which averages over some milliseconds itself.
_PERIOD_S: Final = 0.01


class Integral:
    """A meter of a sensor that is looked at from the first reading on, in a thread that ends with the process."""

    def __init__(self, watts: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._watts, self._clock, self._lock = watts, clock, threading.Lock()
        self._joules, self._seen, self._since = 0.0, 0.0, 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def read(self) -> float:
        """Joules since the first reading."""
        if self._thread.ident is None:
            self._seen, self._since = self._watts(), self._clock()
            self._thread.start()
        self.look()
        return self._joules

    def look(self) -> None:
        """Add what flowed since the last look, at the mean of what was seen then and now."""
        with self._lock:
            watts, now = self._watts(), self._clock()
            self._joules += (self._seen + watts) / 2 * (now - self._since)
            self._seen, self._since = watts, now

    def _watch(self) -> None:
        while True:
            time.sleep(_PERIOD_S)
            self.look()
