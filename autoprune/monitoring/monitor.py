"""A finished model with what watches it around: called as the model is. Knows when to look, and that nothing it does
may keep an answer from who called."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.calibration.baseline import Baseline
from autoprune.calibration.telling import Floats, arguments, inputs_by_name, sureness
from autoprune.core.limit import Limit
from autoprune.core.metric import QUANTILES
from autoprune.core.reporter import Reporter
from autoprune.errors import describe
from autoprune.monitoring.agreement import Agreement
from autoprune.monitoring.allowance import Allowance
from autoprune.monitoring.drift import DriftTest, Shift
from autoprune.monitoring.endpoint import Endpoint
from autoprune.monitoring.exposition import exposition
from autoprune.monitoring.lines import Lines
from autoprune.monitoring.state import Compared, Held, Latency, State, Stream
from autoprune.tasks.batch import device_of

ANSWERS: Final = "answers"
#: Samples that are looked at of one call, and that are told of together, which costs little more than one.
_ROWS: Final = 16
#: Calls whose latency is remembered.
_REMEMBERED: Final = 2048
_SHARES: Final = {"p50": 50, "p90": 90, "p99": 99}
#: Shifts that a warning names.
_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True)
class Drift:
    """An alarm.

    Attributes:
        stream: An argument of the model, or "answers".
        samples: Of the window that was looked at until then.
        rate: Of false alarms a window, at most.
        shifts: The numbers that are told of a sample, those that shifted most first.
    """

    stream: str
    samples: int
    rate: float
    shifts: tuple[Shift, ...] = field(repr=False)

    def __str__(self) -> str:
        most = ", ".join(f"{each.name} {each.deviations:+.1f} sd" for each in self.shifts[:_NAMED])
        return (
            f"'{self.stream}' is not as it was when the model was made: {most} over {self.samples} samples "
            f"(at most one false alarm in {1 / self.rate:,.0f} windows)"
        )


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, and how closely.

    Attributes:
        limits: On the latency, with their bounds in seconds.
        batch: That they are about; 0 for any.
        share: Of the model's time that looking may take.
        rate: Of false alarms a window, at most, all streams together.
        window: Samples looked at after which the test begins anew.
        every: Seconds between two lines.
    """

    limits: tuple[tuple[Limit, float], ...] = ()
    batch: int = 0
    share: float = 0.005
    rate: float = 1e-4
    window: int = 256
    every: float = 60.0


class Monitor:
    """A model in production: call it as the model itself.

    Any number of threads may call it. Looking never waits, and what goes wrong in it is told, not raised.

    Attributes:
        model: That is watched.
    """

    def __init__(
        self,
        model: nn.Module,
        baseline: Baseline,
        watch: Watch,
        *,
        reporter: Reporter,
        dense: nn.Module | None = None,
        dense_share: float = 0.01,
        log: Path | None = None,
        on_drift: Callable[[Drift], Any] | None = None,
    ) -> None:
        self.model, self._baseline, self._watch, self._reporter, self._on_drift = (
            model, baseline, watch, reporter, on_drift
        )  # fmt: skip
        self._names, self._elsewhere = arguments(model), device_of(model).type != "cpu"
        answers = baseline.answers
        known = {name: each.reference for name, each in baseline.inputs.items()}
        known |= {} if answers is None else {ANSWERS: answers.reference}
        rate = watch.rate / max(len(known), 1)
        self._tests = {
            name: DriftTest(each.names, each.sorted, watch.window, rate, seed)
            for seed, (name, each) in enumerate(known.items())
        }
        self._agreement = None if dense is None or answers is None else Agreement(dense, answers.leaf, dense_share)
        self._allowance = Allowance(watch.share)
        self._counting, self._looking = threading.Lock(), threading.RLock()
        self._calls = self._failures = 0
        self._seconds = 0.0
        self._waiting: dict[str, list[Tensor]] = {}
        self._recent: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._wrong: set[str] = set()
        self._endpoint: Endpoint | None = None
        self._lines = None if log is None else Lines(log, reporter.warn)
        self._due = perf_counter() + watch.every if self._lines else float("inf")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the model answers, and raises."""
        if not (self._allowance.allows and self._looking.acquire(blocking=False)):
            return self._called(args, kwargs)
        try:
            seen = self._tried(self._seen, args, kwargs)
            out = self._called(args, kwargs, looked=True)
            if seen is not None:
                self._tried(self._take, *seen, out)
            return out
        finally:
            self._looking.release()

    def _called(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, looked: bool = False) -> Any:
        start = perf_counter()
        try:
            out = self.model(*args, **kwargs)
        except BaseException:
            with self._counting:
                self._calls += 1
                self._failures += 1
            raise
        if looked and self._elsewhere:
            torch.accelerator.synchronize()
        end = perf_counter()
        with self._counting:
            self._calls += 1
            self._seconds += end - start
            self._allowance.earn(end - start)
            if self._agreement is not None:
                self._agreement.allowance.earn(end - start)
            if looked or not self._elsewhere:  # elsewhere a call returns before its answer is there
                self._recent.append((end - start, _batch(args, kwargs)))
        if looked and end > self._due:
            self._write()
        return out

    def _seen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
        """A few samples of a call, before the model may change them; the whole call where it is to be compared."""
        found, known = inputs_by_name(args, kwargs, self._names), self._baseline.inputs
        if not found.keys() & known.keys():  # as in another runtime, which has names of its own
            found = dict(zip(known, found.values(), strict=False))
        seen = {name: _few(found[name]) for name in known if name in found}
        compared = self._agreement is not None and self._agreement.ready
        return seen, Agreement.kept(args, kwargs) if compared else None

    def _take(self, seen: dict[str, Tensor], call: Any, out: Any) -> None:
        """Keep them with their answers until they are enough, and have the dense model answer the same."""
        if self._baseline.answers is not None:
            answers = out if isinstance(out, Tensor) else tree_leaves(out)[self._baseline.answers.leaf]
            seen[ANSWERS] = _few(answers)
        for name, some in seen.items():
            waiting = self._waiting.setdefault(name, [])
            waiting.append(some)
            if sum(map(len, waiting)) >= _ROWS:
                self._waiting[name] = []
                if self._tests[name].add(self._told(name, waiting)):
                    self._alarm(name)
        if self._agreement is not None and call is not None:
            self._agreement.compare(call, out)

    def _told(self, name: str, parts: list[Tensor]) -> Floats:
        """What is told of samples that came one after the other."""
        alike = all(part.shape[1:] == parts[0].shape[1:] for part in parts)
        telling = sureness if name == ANSWERS else self._baseline.inputs[name].telling
        return telling(torch.cat(parts)) if alike else np.concatenate([telling(part) for part in parts])

    def _tried(self, look: Callable[..., Any], *given: Any) -> Any:
        """What looking found; its time counts. The service must not fail of it: what is raised is told once, and None
        was found."""
        start = perf_counter()
        try:
            return look(*given)
        except Exception as error:
            if (text := describe(error)) not in self._wrong:
                self._wrong.add(text)
                self._reporter.warn(f"a call could not be looked at: {text}")
            return None
        finally:
            with self._counting:
                self._allowance.spend(perf_counter() - start)

    def _alarm(self, name: str) -> None:
        test = self._tests[name]
        shifts = sorted(test.shifts(), key=lambda each: -abs(each.deviations))
        drift = Drift(stream=name, samples=test.told, rate=self._watch.rate, shifts=tuple(shifts))
        self._reporter.warn(str(drift))
        if self._on_drift is not None:
            self._on_drift(drift)
        self._write()

    def _write(self) -> None:
        with self._counting:
            self._due = perf_counter() + self._watch.every
        if self._lines is not None:
            self._tried(self._lines.write, {"time": time.time(), **self.state().to_json()})

    def state(self) -> State:
        """How the model is doing now."""
        with self._counting:
            calls, failures, recent = self._calls, self._failures, list(self._recent)
            overhead = self._allowance.spent / self._seconds if self._seconds else 0.0
        with self._looking:
            streams = tuple(_stream(name, test) for name, test in self._tests.items())
            sure, agreed = self._confidence(), self._agreed()
        return State(
            calls=calls,
            failures=failures,
            latency=self._latency(recent),
            streams=streams,
            confidence=sure,
            agreement=agreed,
            overhead=overhead,
        )

    def _latency(self, recent: list[tuple[float, int]]) -> Latency:
        every = [seconds for seconds, _ in recent]
        alike = [seconds for seconds, batch in recent if self._watch.batch in (0, batch)]
        quantiles = {name: float(np.percentile(every, share)) for name, share in _SHARES.items()} if every else {}
        return Latency(
            quantiles=quantiles, limits=tuple(_held(limit, bound, alike) for limit, bound in self._watch.limits)
        )

    def _confidence(self) -> Compared | None:
        test, answers = self._tests.get(ANSWERS), self._baseline.answers
        if test is None or answers is None:
            return None
        return Compared(now=test.means[0] if test.told else None, baseline=float(answers.reference.sorted.mean()),
                        samples=test.told)  # fmt: skip

    def _agreed(self) -> Compared | None:
        found, answers = self._agreement, self._baseline.answers
        if found is None or answers is None:
            return None
        return Compared(now=found.alike / found.samples if found.samples else None, baseline=answers.agreement,
                        samples=found.samples)  # fmt: skip

    def prometheus(self) -> str:
        """The state as Prometheus reads it."""
        return exposition(self.state())

    def serve(self, port: int = 0) -> str:
        """Offer that on this machine's loopback, until `close`.

        Args:
            port: 0 for any free one.

        Returns:
            The address to scrape.

        Raises:
            DeviceError: the port cannot be bound.
        """
        if self._endpoint is None:
            self._endpoint = Endpoint(port, self.prometheus)
        return self._endpoint.url

    def close(self) -> None:
        """Write a last line, and stop serving and comparing; calls go on."""
        if self._agreement is not None:
            self._agreement.close()
        if self._lines is not None:
            self._write()
            with self._looking:
                self._lines.close()
                self._lines, self._due = None, float("inf")
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _few(given: Tensor) -> Tensor:
    """The first samples of a call, whatever becomes of its tensors."""
    some = given if len(given) <= _ROWS else given[:_ROWS]
    return (some.detach() if some.requires_grad else some).clone()


def _batch(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """The samples of a call, by its first tensor; 0 where no argument is one."""
    for given in (*args, *kwargs.values()):
        if isinstance(given, Tensor) and given.dim():
            return len(given)
    return 0


def _held(limit: Limit, bound: float, seconds: list[float]) -> Held:
    """A limit on a median, in slow hours too, is one on the median of the last calls."""
    if not seconds:
        return Held(limit=str(limit), bound=bound, now=None, kept=None)
    share = QUANTILES.get(limit.statistic, 0.5)
    now = float(np.mean(seconds) if share is None else np.quantile(seconds, share))
    return Held(limit=str(limit), bound=bound, now=now, kept=now <= bound)


def _stream(name: str, test: DriftTest) -> Stream:
    return Stream(
        name=name,
        samples=test.samples,
        windows=test.windows,
        alarms=test.alarms,
        drifting=test.drifting,
        evidence=test.evidence,
        shifts={each.name: each.deviations for each in test.shifts()},
    )
