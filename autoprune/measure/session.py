"""Measuring candidates against the dense reference. Knows when to go on, when to stop and when to doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from autoprune.core.measurement import Block, Measurement, RunSpec
from autoprune.core.metric import COSTS
from autoprune.measure import estimator
from autoprune.measure.estimator import Interval, Pair
from autoprune.measure.lock import DeviceLock
from autoprune.profilers import Profiler

_BLOCK_S: Final = 0.03
_BLOCK_RUNS: Final = 2
_FEWEST: Final = 6
_MOST: Final = 20
_BASELINE: Final = 40
#: Consecutive blocks of the reference whose median counts as one look at the device.
_WINDOW: Final = 6
_NEAR, _FAR = 0.02, 0.05
_DRIFT: Final = 0.25


@dataclass
class Session:
    """One device, one reference model, one run: every candidate is paired with the reference.

    windows: the reference's latency, in seconds, each time somebody looked; typical: the one that ratios are
    multiplied with. It is settled by `reference`, not by each look, so that candidates keep the order of their ratios.
    """

    profiler: Profiler
    spec: RunSpec
    lock: DeviceLock
    inputs: Any
    batch: int
    seed: int
    windows: list[float] = field(default_factory=list)
    typical: float = 0.0

    def open(self, reference: Any) -> dict[str, Measurement]:
        """Take the reference and measure it alone; its measurements by key."""
        self._rng = np.random.default_rng(self.seed)
        with self.lock:
            self._reference = self.profiler.prepare(reference, self.inputs)
            self._baseline = [self._block(self._reference) for _ in range(_BASELINE)]
        self._look(self._baseline)
        return self.reference()

    def reference(self) -> dict[str, Measurement]:
        """The reference's measurements by key, from every look so far; its latency is the typical one from here."""
        self.typical = float(np.median(self.windows))
        return self._measurements(Interval(1.0, 1.0, 1.0), self._baseline, "")

    def measure(self, candidate: Any, bounds: Mapping[str, float]) -> dict[str, Measurement]:
        """Measurements of a candidate by key: latency and its statistics, its share of dense, throughput.

        bounds: the budget's limits in SI units by key; near one of them the ratio is pinned down more narrowly.
        """
        with self.lock:
            handle = self.profiler.prepare(candidate, self.inputs)
            try:
                pairs, note = self._pairs(handle, bounds.get("latency"))
            finally:
                self.profiler.release(handle)
        self._look([pair.reference for pair in pairs])
        return self._measurements(estimator.ratio([pairs], self._rng), [pair.candidate for pair in pairs], note)

    def join(self, candidates: Sequence[Sequence[Sequence[Pair]]]) -> list[dict[str, Measurement]]:
        """Measurements of candidates from pairs that other processes took, one sequence a process.

        The candidates of a process share its blocks of the reference; what those say of the device counts from here.
        """
        for pairs in candidates[0]:
            self._look([pair.reference for pair in pairs])
        self.reference()
        return [
            self._measurements(estimator.ratio(rounds, self._rng), [p.candidate for pairs in rounds for p in pairs], "")
            for rounds in candidates
        ]

    def restated(self, measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
        """Earlier measurements of a candidate as they read with what is known of the reference by now."""
        relative = measured["latency.relative"]
        ratio = Interval(relative.value, relative.low, relative.high)
        latency = estimator.scaled(ratio, estimator.spread(self.windows, self.typical))
        return {
            **measured,
            **{
                key: replace(measured[key], value=found.value, low=found.low, high=found.high)
                for key, found in self._derived(latency)
            },
        }

    def _derived(self, latency: Interval) -> tuple[tuple[str, Interval], ...]:
        rate = Interval(self.batch / latency.value, self.batch / latency.high, self.batch / latency.low)
        return ("latency", latency), ("throughput", rate)

    def _pairs(self, handle: Any, bound: float | None) -> tuple[list[Pair], str]:
        pairs: list[Pair] = []
        while len(pairs) < _MOST:
            if self._rng.integers(2):
                reference = self._block(self._reference)
                pairs.append(Pair(self._block(handle), reference))
            else:
                candidate = self._block(handle)
                pairs.append(Pair(candidate, self._block(self._reference)))
            if len(pairs) >= _FEWEST:
                found = estimator.ratio([pairs], self._rng)
                near = bound is not None and abs(found.value * self.typical / bound - 1) < 3 * _FAR
                wanted = _NEAR if near else _FAR
                if found.half_width <= wanted:
                    return pairs, ""
        return pairs, f"still wider than {wanted:.0%} after {_MOST} blocks"

    def _block(self, handle: Any) -> Block:
        return self.profiler.run_block(handle, _BLOCK_S, _BLOCK_RUNS)

    def _look(self, blocks: Sequence[Block]) -> None:
        medians = [estimator.median(block) for block in blocks]
        for start in range(0, len(medians) - _WINDOW + 1, _WINDOW):
            self.windows.append(float(np.median(medians[start : start + _WINDOW])))

    def _measurements(self, ratio: Interval, blocks: Sequence[Block], note: str) -> dict[str, Measurement]:
        reference = estimator.spread(self.windows, self.typical)
        latency = estimator.scaled(ratio, reference)
        contended = self.spec.threads == 1 and np.mean([estimator.contended(block) for block in blocks]) > 0.5
        doubts = [note] if note else []
        if contended:
            doubts.append("other work had the processor most of the time")
        if reference.half_width > _DRIFT:
            doubts.append(f"the reference wandered by {reference.half_width:.0%}")
        trust: dict[str, Any] = {
            "n": sum(len(block.wall_s) for block in blocks),
            "valid": not contended and reference.half_width <= _DRIFT,
            "converged": not note,
            "device": self.profiler.fingerprint(),
            "profiler": self.profiler.name,
            "note": "; ".join(doubts),
        }

        def made(key: str, unit: str, found: Interval) -> Measurement:
            return Measurement(key, found.value, unit, found.low, found.high, **trust)

        measured = {"latency.relative": made("latency.relative", "1", ratio)}
        for name, found in self._derived(latency):
            measured[name] = made(name, COSTS[name].unit, found)
        for key, share in (("mean", None), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            measured[f"latency.{key}"] = made(f"latency.{key}", "s", estimator.quantile(blocks, share, self._rng))
        return measured
