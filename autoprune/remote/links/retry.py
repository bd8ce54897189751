"""How long a device is waited for that does not answer. Knows pauses and what is said meanwhile; no network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from autoprune.errors import UnreachableError

#: Where a search goes on without its device: seconds until it counts as lost.
GRACE_S: Final = 30.0
_TELL_S: Final = 5.0
_FIRST_S, _LONGEST_S = 0.1, 5.0

Tell = Callable[[str], None]


@dataclass
class Patience:
    """For one question. device: as messages call it; grace_s: infinite to wait for ever."""

    device: str
    grace_s: float
    tell: Tell
    _start: float = field(default_factory=time.monotonic)
    _pause: float = _FIRST_S
    _told: bool = False

    def after(self, trouble: str) -> None:
        """Pause before the next attempt.

        Raises:
            UnreachableError: there was enough of them.
        """
        passed = time.monotonic() - self._start
        if passed > self.grace_s:
            raise UnreachableError(
                expected=f"{self.device} to answer",
                received=f"{trouble}, for {passed:.0f} s",
                cure="start it again, and look with `autoprune devices test`",
            )
        if passed > _TELL_S and not self._told:
            self._told = True
            self.tell(f"{self.device} does not answer ({trouble}); it is waited for")
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_S)
