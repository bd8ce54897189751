"""Stand-ins with known behaviour. Knows injected time; nothing here waits or measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from autoprune.core.measurement import Block, Capabilities
from autoprune.core.reporter import Advance


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return self.now

    def cpu(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeProfiler:
    """Reports durations that a function of the model gives, times noise and a slow wave over time, both seeded.

    seconds: model -> true seconds of one run; noise: relative standard deviation of a run; wave: relative height of
    the sinus that every model's time follows, as on a machine with neighbours; steal: wall seconds per processor
    second.
    """

    name = "fake"

    def __init__(
        self,
        seconds: Callable[[Any], float],
        *,
        noise: float = 0.0,
        wave: float = 0.0,
        steal: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._seconds, self._noise, self._wave, self._steal = seconds, noise, wave, steal
        self._rng = np.random.default_rng(seed)
        self.clock = FakeClock()
        self.released = 0

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput"), formats=("module",), exclusive=False)

    def fingerprint(self) -> str:
        return "fake device"

    def prepare(self, artifact: Any, example_inputs: Any) -> float:
        return self._seconds(artifact)

    def run_block(self, handle: float, min_s: float, min_runs: int) -> Block:
        wall: list[float] = []
        while sum(wall) < min_s or len(wall) < min_runs:
            slow = 1 + self._wave * float(np.sin(self.clock.now / 3))
            wall.append(handle * slow * float(np.exp(self._rng.normal(0, self._noise))) * self._steal)
            self.clock.advance(wall[-1])
        return Block(tuple(wall), tuple(each / self._steal for each in wall))

    def release(self, handle: float) -> None:
        self.released += 1

    def close(self) -> None:
        pass


class RecordingReporter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.steps: dict[str, int] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Advance]:
        def advance(_text: str) -> None:
            self.steps[label] = self.steps.get(label, 0) + 1

        yield advance
