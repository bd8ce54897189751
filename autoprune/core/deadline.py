"""A moment by which all work is to be done. Knows a clock; not what is done until then."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from autoprune.core.clock import Clock
from autoprune.core.quantity import spell
from autoprune.core.reporter import Advance, Reporter


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A moment of a clock.

    Attributes:
        clock: That tells seconds.
        end: Its `wall` at that moment; infinite where there is none.
    """

    clock: Clock
    end: float = math.inf

    @property
    def left(self) -> float:
        """Seconds until then, infinite where there is no end; 0 once it has passed."""
        return max(self.end - self.clock.wall(), 0.0)

    @property
    def limited(self) -> bool:
        """Whether there is an end."""
        return math.isfinite(self.end)

    def within(self, seconds: float | None) -> Deadline:
        """No later than so many seconds from now; None: as it is."""
        return self if seconds is None else replace(self, end=min(self.end, self.clock.wall() + seconds))

    def earlier(self, seconds: float) -> Deadline:
        """So many seconds before it."""
        return replace(self, end=self.end - seconds)


class Countdown:
    """A reporter that says beside all progress how much time is left until a deadline."""

    def __init__(self, reporter: Reporter, deadline: Deadline) -> None:
        self._reporter, self._deadline = reporter, deadline

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def warn(self, text: str) -> None:
        self._reporter.warn(text)

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        with self._reporter.track(label, total, done) as advance:

            def counted(text: str) -> None:
                advance(f"{text}{', ' if text else ''}{spell(self._deadline.left)} to the deadline")

            yield counted
