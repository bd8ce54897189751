"""What something may take beside the model: a share of the model's own time. Knows seconds."""

from __future__ import annotations

from typing import Final

#: Times the usual that are charged at most, and by which share of the last one the usual follows.
_MOST: Final = 8.0
_NEWEST: Final = 0.1


class Allowance:
    """Grows with the time that the model takes; who spends more than is there waits until it is made up for. Of many
    times the usual, as where the processor was taken away meanwhile, most is let off.

    spent: seconds so far, all of them.
    """

    def __init__(self, share: float) -> None:
        """share: of the model's time."""
        self._share, self._left, self.spent, self._usual = share, 0.0, 0.0, 0.0

    def earn(self, seconds: float) -> None:
        """The model took so long."""
        self._left += self._share * seconds

    def spend(self, seconds: float) -> None:
        """So long was taken."""
        charged = min(seconds, _MOST * self._usual) if self._usual else seconds
        self._usual += _NEWEST * (charged - self._usual) if self._usual else charged
        self._left -= charged
        self.spent += seconds

    @property
    def allows(self) -> bool:
        """Whether nothing is owed."""
        return self._share > 0 and self._left >= 0
