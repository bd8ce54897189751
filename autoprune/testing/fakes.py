"""Stand-ins with known behaviour. Knows injected time; nothing here waits or measures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.measurement import Block, Capabilities
from autoprune.core.reporter import Advance
from autoprune.trackers import TrackedModel, TrackedRun


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return self.now

    def cpu(self) -> float:
        return self.now

    def date(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    sleep = advance


class TickingClock(FakeClock):
    """A clock that goes on by the same amount each time somebody looks at the wall."""

    def __init__(self, tick: float) -> None:
        super().__init__()
        self._tick = tick

    def wall(self) -> float:
        self.now += self._tick
        return self.now


class FakeProfiler:
    """Reports durations that a function of the model gives, times noise and a slow wave over time, both seeded.

    seconds: model -> true seconds of one run; noise: relative standard deviation of a run; wave: relative height of
    the sinus that every model's time follows, as on a machine with neighbours; steal: wall seconds per processor
    second: of all runs or of the next runs in turn, as other work
    takes it; or by models' true seconds, which then wait by themselves.
    """

    name = "fake"

    def __init__(
        self,
        seconds: Callable[[Any], float],
        *,
        noise: float = 0.0,
        wave: float = 0.0,
        steal: float | list[float] | dict[float, float] = 1.0,
        seed: int = 0,
    ) -> None:
        self._seconds, self._noise, self._wave = seconds, noise, wave
        self.steal = steal
        self._rng = np.random.default_rng(seed)
        self.clock = FakeClock()
        self.prepared = self.released = 0

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput"), exclusive=False, meter="")

    def fingerprint(self) -> str:
        return "fake device"

    def prepare(self, artifact: Any, inputs: Any) -> float:
        self.prepared += 1
        return self._seconds(artifact)

    def run_block(self, handle: float, min_s: float, min_runs: int) -> Block:
        wall: list[float] = []
        cpu: list[float] = []
        while sum(wall) < min_s or len(wall) < min_runs:
            slow = 1 + self._wave * float(np.sin(self.clock.now / 3))
            cpu.append(handle * slow * float(np.exp(self._rng.normal(0, self._noise))))
            wall.append(cpu[-1] * self._stolen(handle))
            self.clock.advance(wall[-1])
        taken = not isinstance(self.steal, dict) and sum(wall) > sum(cpu)
        return Block(tuple(wall), tuple(cpu), involuntary_switches=len(wall) if taken else 0)

    def _stolen(self, handle: float) -> float:
        if isinstance(self.steal, dict):
            return self.steal.get(handle, 1.0)
        if isinstance(self.steal, list):
            return self.steal.pop(0)
        return self.steal

    def outputs(self, handle: float, inputs: Any = None) -> list[Any]:
        return [np.array([handle])]

    def release(self, handle: float) -> None:
        self.released += 1

    def close(self) -> None:
        pass


class FakeCuda:
    """As much of `torch.cuda` as profiling needs, on the processor: each run takes `seconds` of the card's time.

    capturable: whether graphs can be captured.
    """

    def __init__(self, seconds: float, *, available: bool = True, capturable: bool = True) -> None:
        self.seconds, self.available, self.capturable = seconds, available, capturable
        self.now, self.replays, self.waits = 0.0, 0, 0
        cuda = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                self.at: float | None = None

            def record(self) -> None:
                self.at = cuda.now

            def elapsed_time(self, end: Any) -> float:
                return float(end.at - self.at) * 1e3

        class CUDAGraph:
            def replay(self) -> None:
                cuda.replays += 1
                cuda.now += cuda.seconds

        self.Event, self.CUDAGraph = Event, CUDAGraph

    def is_available(self) -> bool:
        return self.available

    def get_device_name(self) -> str:
        return "fake card"

    def synchronize(self) -> None:
        self.waits += 1

    def empty_cache(self) -> None:
        pass

    @contextmanager
    def graph(self, _graph: Any) -> Iterator[None]:
        yield
        if not self.capturable:
            raise RuntimeError("operation not permitted when stream is capturing")


class RecordingReporter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.steps: dict[str, int] = {}
        self.progress: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        def advance(text: str) -> None:
            self.progress.append(text)
            self.steps[label] = self.steps.get(label, 0) + 1

        yield advance


class FakeTracker:
    """A tracker, and the module that makes it; keeps what it is told, as (call, what it was called with).

    fails: the call that raises; hangs: the call that does not come back before `release` is set.
    """

    LIBRARY = "json"

    def __init__(self, *, fails: str = "", hangs: str = "") -> None:
        self.fails, self.hangs, self.release = fails, hangs, threading.Event()
        self.identity = ""
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def create(self, run: TrackedRun) -> FakeTracker:
        self.identity = run.identity or f"kept-{run.name}"
        return self._called("create", run)

    def trial(self, model: TrackedModel) -> None:
        self._called("trial", model)

    def scalars(self, values: Mapping[str, float], step: int, trial: int | None = None) -> None:
        self._called("scalars", dict(values), step, trial)

    def finished(self, model: TrackedModel) -> None:
        self._called("finished", model)

    def artifact(self, path: Path, name: str) -> None:
        self._called("artifact", path, name)

    def close(self, state: str) -> None:
        self._called("close", state)

    def told(self, call: str) -> list[Any]:
        """What it was told by a call, each time; of several arguments the tuple."""
        return [given[0] if len(given) == 1 else given for name, given in self.calls if name == call]

    def _called(self, call: str, *given: Any) -> FakeTracker:
        self.calls.append((call, given))
        if call == self.hangs:
            self.release.wait()
        if call == self.fails:
            raise ConnectionError("my server is gone")
        return self
