"""Measuring candidates against the dense reference. Knows when to go on, to wait, to stop and to doubt."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from autoprune.core.measurement import Block, Measurement, RunSpec
from autoprune.core.metric import COSTS, STATISTICS
from autoprune.errors import DeviceError
from autoprune.measure import estimator
from autoprune.measure.artifact import Artifact
from autoprune.measure.bench import AnyBench
from autoprune.measure.contention import quiet
from autoprune.measure.estimator import Interval, Pair, Time
from autoprune.measure.history import STEADY, Wander

#: Short blocks, many of them: a shared machine changes its speed over tenths of a second, and what two blocks share
#: cancels. On such a machine blocks of 10 to 20 ms gave narrower intervals than blocks of 50 ms in equal time.
BLOCK_S: Final = 0.015
BLOCK_RUNS: Final = 2
_FEWEST, _MOST = 9, 81
#: Seconds of measuring after which a candidate is left at what it is.
_CAP_S: Final = 4.0
#: Pairs that are asked for at a time.
_LOT: Final = 3
_BASELINE: Final = 36
#: Consecutive blocks of the reference whose median counts as one look at the device.
_WINDOW: Final = 6
_NEAR, _FAR = 0.02, 0.05
_DRIFT: Final = 0.25
#: A candidate whose latency is further from all anchors than this factor becomes one itself.
_APART: Final = 1.6
_ANCHORS: Final = 4
#: How often a measurement that others disturbed is taken again, and how long the machine is waited for: each time, and
#: in vain by all candidates together.
_RETRIES: Final = 2
_WAIT_S: Final = 10.0
_PATIENCE_S: Final = 30.0
_REFERENCE, _CANDIDATE = "reference", "candidate"


@dataclass(frozen=True)
class _Anchor:
    """A model that others are paired with: how many times the reference's latency it needs, by processor and wall."""

    name: str
    artifact: Artifact
    worked: Interval
    passed: Interval


@dataclass
class Session:
    """One device, one reference model, one run: every candidate is paired with a model of similar size.

    The first of those is the reference; candidates that differ much from it join it. windows: the reference's latency,
    in seconds, each time somebody looked; typical: the one that ratios are multiplied with. It is settled by
    `reference`, not by each look, so that candidates keep the order of their ratios. opening: the one at first, from
    which `wander` counts: a device that slowed down since then has used up some of the slowness it is known for.
    """

    bench: AnyBench
    spec: RunSpec
    profiler: str
    batch: int
    seed: int
    wander: Wander = STEADY
    windows: list[float] = field(default_factory=list)
    typical: float = 0.0
    opening: float = 0.0

    def open(self, reference: Artifact, *, patient: bool = True) -> dict[str, Measurement]:
        """Take the reference and measure it alone; its measurements by key. patient: where others disturb that, the
        machine is waited for."""
        self._rng = np.random.default_rng(self.seed)
        found = self.bench.capabilities()
        self._device = self.bench.fingerprint()
        self._single = found.cpu_time and self.spec.threads == 1
        self._room = min(_ANCHORS, found.most_handles - 1)
        self._patience, self._adoptions = _PATIENCE_S, 2 * _ANCHORS
        one = Interval(1.0, 1.0, 1.0)
        self._anchors = [_Anchor(_REFERENCE, reference, one, one)]
        self._restart()
        for attempt in range(_RETRIES + 1):
            self._baseline = self._alone()
            calm = np.mean([self._quiet(block) for block in self._baseline]) >= 0.5
            if calm or not patient or attempt == _RETRIES:
                break
            self.bench.settle(_WAIT_S)
        self._look(self._baseline, 1.0)
        self.opening = float(np.median(self.windows))
        return self.reference()

    def reference(self) -> dict[str, Measurement]:
        """The reference's measurements by key, from every look so far; its latency is the typical one from here."""
        self.typical = float(np.median(self.windows))
        pairs = [Pair(block, block) for block in self._baseline]
        one = self._anchors[0]
        return self._measurements(one.worked, pairs, one, "")

    def measure(self, candidate: Artifact, bounds: Mapping[str, float]) -> dict[str, Measurement]:
        """Measurements of a candidate by key: latency and its statistics, its share of dense, throughput, energy.

        bounds: the budget's limits in SI units by key; near one of them the ratio is pinned down more narrowly.

        Raises:
            DeviceError: it does not run, takes the process down, hangs, or needs too much memory.
        """
        with self._taken(candidate):
            anchor = self._nearest()
            pairs, note = self._settled(anchor, self._latencies(bounds))
            found = self._ratio([pairs], anchor)
            if self._lonely(found.value):
                self._adopt(candidate)
        self._look([pair.reference for pair in pairs], anchor.passed.value)
        return self._measurements(found, pairs, anchor, note)

    def rough(self, candidate: Artifact) -> float:
        """The latency of a candidate in seconds, from the fewest blocks that tell it and without waiting for a quiet
        machine: to steer by, not to report. Errors are those of `measure`."""
        with self._taken(candidate):
            anchor = self._nearest()
            return self._ratio([self._take(anchor, _LOT)], anchor).value * self.typical

    def join(self, candidates: Sequence[Sequence[Sequence[Pair]]]) -> list[dict[str, Measurement]]:
        """Measurements of candidates from pairs with the reference that other processes took, one sequence a process.

        The candidates of a process share its blocks of the reference; what those say of the device counts from here.
        """
        one = self._anchors[0]
        for pairs in candidates[0]:
            self._look([pair.reference for pair in pairs], 1.0)
        self.reference()
        return [
            self._measurements(self._ratio(rounds, one), [pair for pairs in rounds for pair in pairs], one, "")
            for rounds in candidates
        ]

    def restated(self, measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
        """Earlier measurements of a candidate as they read with what is known of the reference by now."""
        relative = measured["latency.relative"]
        latency = estimator.chained(Interval(relative.value, relative.low, relative.high), self._spread())
        grown = latency.value / measured["latency"].value
        again = {
            key: replace(each, value=each.value * grown, low=each.low * grown, high=each.high * grown)
            for key, each in measured.items()
            if key.startswith("latency.") and key != "latency.relative"
        }
        derived = {
            key: replace(measured[key], value=found.value, low=found.low, high=found.high)
            for key, found in self._derived(latency)
        }
        return {**measured, **again, **derived}

    @contextlib.contextmanager
    def _taken(self, candidate: Artifact) -> Iterator[None]:
        """The candidate is ready to run, beside the models that it may be paired with."""
        if self.bench.generation() != self._generation:
            self._restart()
        self.bench.prepare(_CANDIDATE, candidate)
        try:
            yield
        finally:
            self.bench.release(_CANDIDATE)

    def _restart(self) -> None:
        """Another process answers: it takes the models that others are paired with, as far as it can."""
        first, *others = self._anchors
        self.bench.prepare(first.name, first.artifact)
        self._anchors = [first]
        for anchor in others:
            with contextlib.suppress(DeviceError):  # it fitted once; without it, the others serve
                self.bench.prepare(anchor.name, anchor.artifact)
                self._anchors.append(anchor)
        self._generation = self.bench.generation()

    def _alone(self) -> list[Block]:
        """Blocks of the reference, in small lots, as many as time allows."""
        blocks: list[Block] = []
        while len(blocks) < _BASELINE and (len(blocks) < _FEWEST or _spent(blocks) < _CAP_S):
            blocks += [blocks[0] for blocks in self._rounds([_REFERENCE], _LOT)]
        return blocks

    def _latencies(self, bounds: Mapping[str, float]) -> list[float]:
        """Limits on latency and on throughput, as seconds of one run."""
        found = [bound for key, bound in bounds.items() if key.partition(".")[0] == "latency"]
        return [*found, *(self.batch / bound for key, bound in bounds.items() if key == "throughput")]

    def _nearest(self) -> _Anchor:
        """The anchor whose latency is nearest to the candidate's; one look at both tells."""
        if len(self._anchors) == 1:
            return self._anchors[0]
        names = [_CANDIDATE, *(anchor.name for anchor in self._anchors)]
        own, *others = (estimator.median(block) for block in self.bench.rounds(names, 1, 0.0, 3, self._draw())[0])
        gaps = [abs(math.log(own / other)) for other in others]
        return self._anchors[gaps.index(min(gaps))]

    def _lonely(self, ratio: float) -> bool:
        gaps = [abs(math.log(ratio / anchor.passed.value)) for anchor in self._anchors]
        room = len(self._anchors) < self._room and self._adoptions > 0
        return room and min(gaps) > math.log(_APART)

    def _adopt(self, candidate: Artifact) -> None:
        """The candidate becomes an anchor: its ratio to the reference is pinned down once, for all that follow."""
        self._adoptions -= 1
        pairs, note = self._pairs(self._anchors[0], _NEAR, self._times())
        calm = self._calm(pairs)
        if note or len(calm) < len(pairs) / 2:
            return
        worked, passed = (estimator.ratio([calm], self._rng, time) for time in self._times())
        name = f"anchor {len(self._anchors)}"
        with contextlib.suppress(DeviceError):  # no room for it twice; the candidate itself was measured
            self.bench.prepare(name, candidate)
            self._anchors.append(_Anchor(name, candidate, worked, passed))

    def _settled(self, anchor: _Anchor, bounds: Sequence[float]) -> tuple[list[Pair], str]:
        """Pairs of a quiet machine if it can be had; it is waited for, and the measurement taken again."""
        for attempt in range(_RETRIES + 1):
            first = self._first(anchor)
            rough = self._ratio([first], anchor).value * self.typical
            near = any(abs(rough / bound - 1) < 3 * _FAR for bound in bounds)
            # Far from a bound the order counts alone; near it the wall must be known as well.
            wanted, times = (_NEAR, self._times()) if near else (_FAR, self._times()[:1])
            pairs, note = self._pairs(anchor, wanted, times, first)
            if len(self._calm(pairs)) >= len(pairs) / 2 or attempt == _RETRIES or self._patience <= 0:
                break
            limit = min(_WAIT_S, self._patience)
            if (waited := self.bench.settle(limit)) >= limit:  # in vain
                self._patience -= waited
        return pairs, note

    def _pairs(
        self, anchor: _Anchor, wanted: float, times: Sequence[Time], taken: Sequence[Pair] = ()
    ) -> tuple[list[Pair], str]:
        """Pairs until the interval of their ratio is as narrow as wanted, or the cap; why not, if not."""
        pairs = [*taken] or self._first(anchor)
        while True:
            if all(estimator.ratio([pairs], self._rng, time).half_width <= wanted for time in times):
                return pairs, ""
            if len(pairs) >= _MOST or _spent([block for p in pairs for block in (p.candidate, p.reference)]) > _CAP_S:
                return pairs, f"still wider than {wanted:.0%} after {len(pairs)} blocks"
            pairs += self._take(anchor, _LOT)

    def _first(self, anchor: _Anchor) -> list[Pair]:
        """The fewest pairs that make an interval; of a slow model fewer, as time allows."""
        pairs = self._take(anchor, _LOT)
        while len(pairs) < _FEWEST and _spent([b for p in pairs for b in (p.candidate, p.reference)]) < _CAP_S:
            pairs += self._take(anchor, _LOT)
        return pairs

    def _take(self, anchor: _Anchor, count: int) -> list[Pair]:
        return [Pair(*blocks) for blocks in self._rounds([_CANDIDATE, anchor.name], count)]

    def _rounds(self, names: Sequence[str], count: int) -> list[list[Block]]:
        return self.bench.rounds(names, count, BLOCK_S, BLOCK_RUNS, self._draw())

    def _draw(self) -> int:
        return int(self._rng.integers(2**31))

    def _times(self) -> tuple[Time, Time]:
        """By which time candidates are ranked, and by which a budget is judged."""
        return ("cpu" if self._single else "wall"), "wall"

    def _quiet(self, block: Block) -> bool:
        return quiet(block, single=self._single)

    def _calm(self, pairs: Sequence[Pair]) -> list[Pair]:
        return [pair for pair in pairs if self._quiet(pair.candidate) and self._quiet(pair.reference)]

    def _ratio(self, rounds: Sequence[Sequence[Pair]], anchor: _Anchor) -> Interval:
        """A candidate's share of the reference: ranked by processor time where that is the work, held to the wall."""
        calm = [self._known(pairs) for pairs in rounds]
        passed = estimator.chained(estimator.ratio(calm, self._rng), anchor.passed)
        if not self._single:
            return passed
        worked = estimator.chained(estimator.ratio(rounds, self._rng, "cpu"), anchor.worked)
        return estimator.agreed(worked, passed)

    def _known(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The calm pairs, or all where those are too few to tell anything."""
        calm = self._calm(pairs)
        return calm if len(calm) >= min(_LOT, len(pairs)) else pairs

    def _look(self, blocks: Sequence[Block], size: float) -> None:
        """Take in blocks of a model that takes `size` times as long as the reference; disturbed ones tell nothing."""
        seconds = [estimator.median(block) / size for block in blocks if self._quiet(block)]
        if not self.windows and len(seconds) < _WINDOW:
            seconds = [estimator.median(block) / size for block in blocks]
        for start in range(0, len(seconds) - _WINDOW + 1, _WINDOW):
            self.windows.append(float(np.median(seconds[start : start + _WINDOW])))

    def _spread(self) -> Interval:
        """Where the reference's latency lies: the typical one, and what was seen in this run and in earlier ones."""
        seen = estimator.spread(self.windows, self.typical)
        return Interval(
            self.typical,
            min(seen.low, self.opening * self.wander.faster),
            max(seen.high, self.opening * self.wander.slower),
        )

    def _derived(self, latency: Interval) -> tuple[tuple[str, Interval], ...]:
        rate = Interval(self.batch / latency.value, self.batch / latency.high, self.batch / latency.low)
        return ("latency", latency), ("throughput", rate)

    def _measurements(
        self, ratio: Interval, pairs: Sequence[Pair], anchor: _Anchor, note: str
    ) -> dict[str, Measurement]:
        reference = self._spread()
        blocks = [pair.candidate for pair in pairs]
        calm = len(self._calm(pairs)) >= len(pairs) / 2
        seen = estimator.spread(self.windows, self.typical)
        doubts = [note] if note else []
        if not calm:
            doubts.append("other work had the processor most of the time")
        if seen.half_width > _DRIFT:
            doubts.append(f"the reference wandered by {seen.half_width:.0%}")
        trust: dict[str, Any] = {
            "n": sum(len(block.wall_s) for block in blocks),
            "valid": calm and seen.half_width <= _DRIFT,
            "converged": not note,
            "device": self._device,
            "profiler": self.profiler,
            "note": "; ".join(doubts),
        }

        def made(key: str, unit: str, found: Interval) -> Measurement:
            return Measurement(key, found.value, unit, found.low, found.high, **trust)

        measured = {"latency.relative": made("latency.relative", "1", ratio)}
        for name, found in self._derived(estimator.chained(ratio, reference)):
            measured[name] = made(name, COSTS[name].unit, found)
        # Quantiles of single runs in units of the anchor's median then, so that they read as of a typical moment.
        known = self._known(pairs)
        now = float(np.median([estimator.median(pair.reference) for pair in known])) / anchor.passed.value
        kept = [pair.candidate for pair in known]
        told = estimator.quantiles(kept, [*STATISTICS.values()], self._rng)
        for key, of_runs in zip(STATISTICS, told, strict=True):
            relative = Interval(of_runs.value / now, of_runs.low / now, of_runs.high / now)
            measured[f"latency.{key}"] = made(f"latency.{key}", "s", estimator.chained(relative, reference))
        metered = [(block.joules, len(block.wall_s)) for block in blocks if block.joules is not None]
        if metered:
            # Counters move seldom within a block: their sum is right where single readings are not.
            joules, runs = np.array(metered).T
            value = float(np.average(joules, weights=runs))
            error = 2 * float(np.std(joules)) / math.sqrt(len(joules))
            measured["energy"] = made("energy", "J", Interval(value, max(value - error, 0.0), value + error))
        return measured


def _spent(blocks: Sequence[Block]) -> float:
    """Seconds that the runs of some blocks took."""
    return sum(sum(block.wall_s) for block in blocks)
