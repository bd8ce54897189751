"""What is told of tracing that takes long. Knows when it began; nothing of what is done."""

from __future__ import annotations

from typing import Final

from autoprune.core.clock import Clock
from autoprune.core.reporter import Reporter

#: Seconds after which somebody who waits is told what for.
_LONG: Final = 5.0


class Patience:
    """Tells the reporter which step begins, once the steps before have taken long."""

    def __init__(self, reporter: Reporter, clock: Clock) -> None:
        self._reporter, self._clock = reporter, clock
        self._began = clock.wall()

    def begin(self, step: str) -> None:
        taken = self._clock.wall() - self._began
        if taken > _LONG:
            self._reporter.note(f"tracing the model, for {taken:.0f} s so far: {step}")
