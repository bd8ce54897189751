"""What a search may spend. Knows limits on trials, seconds and epochs; not how they are spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autoprune.errors import UsageError

#: Epochs of fine-tuning at most where its time alone is said.
MOST_EPOCHS: Final = 100


@dataclass(frozen=True)
class Effort:
    """trials: candidates to evaluate; seconds: wall time of the search for candidates and of its forecast, None for no
    limit; epochs: fine-tuning of each finalist; finalists: how many points of the front are finished; deadline: wall
    time of all of it, finishing included, None for no limit."""

    trials: int = 64
    seconds: float | None = None
    epochs: int = 6
    finalists: int = 9
    deadline: float | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("trials", self.trials, 1),
            ("epochs", self.epochs, 0),
            ("finalists", self.finalists, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(
                    expected=f"{name} of at least {least}", received=repr(value), cure=f"pass a whole number to {name}"
                )
        for name in ("seconds", "deadline"):
            limit = getattr(self, name)
            if limit is None:
                continue
            if not 0 < limit < float("inf"):
                raise UsageError(
                    expected="a positive, finite time limit", received=repr(limit), cure="write it as 90s, 10m or 2h"
                )
            object.__setattr__(self, name, float(limit))  # NumPy's own are written as something else
