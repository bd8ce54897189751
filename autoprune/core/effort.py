"""What a search may spend. Knows limits on trials, seconds and epochs; not how they are spent."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.errors import UsageError


@dataclass(frozen=True)
class Effort:
    """trials: candidates to evaluate; seconds: wall time of the search for candidates, None for no limit;
    epochs: fine-tuning of each finalist; finalists: how many points of the front are finished."""

    trials: int = 64
    seconds: float | None = None
    epochs: int = 6
    finalists: int = 9

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
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(
                expected="a positive, finite time limit", received=repr(self.seconds), cure="write it as 90s, 10m or 2h"
            )
        if self.seconds is not None:
            object.__setattr__(self, "seconds", float(self.seconds))  # NumPy's own are written as something else
