"""Time as it is injected. Knows monotonic clocks; the date only dates records and is never used to measure."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds of the wall and of this process's processor time."""

    def wall(self) -> float:
        """Seconds that passed since an arbitrary moment, the same one for every process; never goes backwards."""
        ...

    def cpu(self) -> float:
        """Seconds of processor time that this process used, over all its threads."""
        ...

    def date(self) -> float:
        """Seconds since 1970; somebody may set it back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        return time.perf_counter()

    def cpu(self) -> float:
        return time.process_time()

    def date(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
