"""What something may take beside the model: a share of the model's own time. Knows seconds."""

from __future__ import annotations

from collections import deque
from typing import Final

#: Of the last so many, the least is the usual; so many times that are charged at most.
_REMEMBERED: Final = 9
_MOST: Final = 8.0


class Allowance:
    """Grows with the time that the model takes; who spends more than is there waits until it is made up for.

    Of many times the usual, as where the processor was taken away meanwhile, most is let off. The first time is free.

    spent: seconds so far, all of them.
    """

    def __init__(self, share: float) -> None:
        """share: of the model's time."""
        self._share, self._left, self.spent = share, 0.0, 0.0
        self._last: deque[float] = deque(maxlen=_REMEMBERED)

    def earn(self, seconds: float) -> None:
        """The model took so long."""
        self._left += self._share * seconds

    def spend(self, seconds: float) -> None:
        """So long was taken."""
        self._left -= min(seconds, _MOST * min(self._last, default=0.0))
        self._last.append(seconds)
        self.spent += seconds

    @property
    def allows(self) -> bool:
        """Whether nothing is owed."""
        return self._share > 0 and self._left >= 0
