"""Measuring candidates against the dense model. Knows when to go on and when to stop; not what a budget is.

How precisely a candidate is measured depends on what that is for: its place among others needs a few pairs, the side of
a limit on which it lies may need many. On one thread of a processor candidates are told apart by processor time, which
others who take the processor do not change; only finished models are held to the wall, in quiet moments.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import AnyBench
from autoprune.bench.contention import quiet
from autoprune.core.measurement import Block, Measurement, RunSpec
from autoprune.core.rate import Rate
from autoprune.errors import DeviceError
from autoprune.measure import estimator
from autoprune.measure.any_device import NOTHING
from autoprune.measure.decision import Decision
from autoprune.measure.estimator import Interval, Pair, Time
from autoprune.measure.history import STEADY, Wander
from autoprune.measure.limits import USUAL, Limits
from autoprune.measure.reference import Reference
from autoprune.measure.stated import Stating

#: A candidate whose latency is further from all anchors than this factor becomes one itself.
_APART: Final = 1.6
_ANCHORS: Final = 4
#: How precisely the ratio of an anchor is pinned down, whose doubt all share that are paired with it; how many times as
#: long as a candidate that may take.
_PINNED, _LONGER = 0.01, 3
#: By how much work beside it may widen what a pair says.
_WIDER: Final = 1.5
#: Ratios from which the noise of one pair is told.
_REMEMBERED: Final = 200
#: Shares of a finished model's pairs in quiet moments, and how many a process, that make its latency a certain one.
_CERTAIN: Final = 3
_REFERENCE, _CANDIDATE = "reference", "candidate"
_ONE: Final = Interval(1.0, 1.0, 1.0)


@dataclass(frozen=True)
class _Anchor:
    """A model that others are paired with: how many times the dense model's latency it needs, by processor and wall."""

    name: str
    artifact: Artifact
    worked: Interval
    passed: Interval


@dataclass
class Session:
    """One device, one dense model, one run: every candidate is paired with a model of similar size.

    The first of those is the dense one; candidates that differ much from it join it. Ratios are multiplied with the
    dense model's quiet latency, which `reference` settles.
    """

    bench: AnyBench
    spec: RunSpec
    profiler: str
    batch: int
    seed: int
    wander: Wander = STEADY
    limits: Limits = USUAL
    rates: Sequence[Rate] = ()
    dense: Reference = field(init=False)
    _deviations: list[float] = field(default_factory=list, init=False)
    _rng: np.random.Generator = field(init=False, repr=False)
    _single: bool = field(default=False, init=False)
    _room: int = field(default=0, init=False)
    _adoptions: int = field(default=0, init=False)
    _stating: Stating = field(init=False, repr=False)
    _anchors: list[_Anchor] = field(default_factory=list, init=False, repr=False)
    _baseline: list[Block] = field(default_factory=list, init=False, repr=False)
    _generation: int = field(default=0, init=False)

    def open(self, reference: Artifact) -> dict[str, Measurement]:
        """Take the dense model and measure it alone; a quiet machine is waited for where only the wall tells how long
        a model takes.

        Args:
            reference: The dense model.

        Returns:
            Its measurements by key.
        """
        self._rng = np.random.default_rng(self.seed)
        found = self.bench.capabilities()
        self._single = found.cpu_time and self.spec.threads == 1
        self._room = min(_ANCHORS, found.most_handles - 1)
        self._adoptions = 2 * _ANCHORS
        self.dense = Reference(self._single, self.wander)
        self._stating = Stating(self.dense, self.batch, self.bench.fingerprint(), self.profiler, self.rates)
        self._anchors = [_Anchor(_REFERENCE, reference, _ONE, _ONE)]
        self._restart()
        self._baseline = self._alone()
        if not self._single and not self._mostly_calm(self._baseline):
            self.bench.settle(self.limits.wait_s)
            self._baseline = self._alone()
        self.dense.look(self._baseline)
        self._learn([Pair(*two) for two in zip(self._baseline[::2], self._baseline[1::2], strict=False)])
        return self.reference()

    def reference(self) -> dict[str, Measurement]:
        """The dense model's measurements by key, from every look so far; its latency is the typical one from here."""
        self.dense.settle()
        pairs = [Pair(block, block) for block in self._baseline]
        calm = self._single or self._mostly_calm(self._baseline)
        return self._stated(_ONE, pairs, self._anchors[0], valid=calm)

    def measure(
        self,
        candidate: Artifact,
        bounds: Mapping[str, float],
        ceilings: Mapping[str, float] = NOTHING,
        *,
        finished: bool = False,
    ) -> dict[str, Measurement]:
        """Measure a candidate beside a model of similar size.

        Args:
            candidate: What is measured.
            bounds: The budget's limits in SI units by key; where one of them lies within the interval, the ratio is
                pinned down more narrowly.
            ceilings: By key, a cost beyond which the candidate is beaten, and not pinned down at a limit.
            finished: Whether it is no candidate any more: it is held to the wall, and pinned down in any case.

        Returns:
            By key, latency and its statistics, its share of the dense model's, throughput, energy.

        Raises:
            DeviceError: it does not run, takes the process down, hangs, or needs too much memory.
        """
        decision = Decision.of(bounds, ceilings, self.dense, self.batch, finished=finished)
        with self._taken(candidate):
            anchor = self._nearest()
            pairs, note = self._pairs(anchor, decision)
            found = self._ratio([pairs], anchor, wall=finished)
            if self._lonely(found.value):
                self._adopt(candidate)
        self.dense.look([pair.reference for pair in pairs], anchor.passed.value)
        calm = self._single or self._mostly_calm([pair.candidate for pair in pairs])
        calm = len(self._calm(pairs)) >= min(_CERTAIN, len(pairs)) if finished else calm
        return self._stated(found, pairs, anchor, valid=calm, note=note)

    def rough(self, candidate: Artifact) -> float:
        """The latency of a candidate in seconds, from the fewest blocks that tell it: to steer by, not to report.
        Errors are those of `measure`."""
        with self._taken(candidate):
            anchor = self._nearest()
            pairs = self._take(anchor, self.limits.lot)
        self.dense.look([pair.reference for pair in pairs], anchor.passed.value)
        return self._ratio([pairs], anchor).value * self.dense.typical

    def undisturbed(self, candidate: Artifact, load: Callable[[], object]) -> bool:
        """Whether work in this process moves a candidate's ratio by less than its interval, and does not widen it much.

        Args:
            candidate: What is measured, with and without the work beside it.
            load: The work, which is done over and over meanwhile.
        """
        ended, failures = threading.Event(), list[Exception]()

        def work() -> None:
            try:
                while not ended.is_set():
                    load()
            except Exception as error:
                failures.append(error)

        working = threading.Thread(target=work, daemon=True)
        with self._taken(candidate):
            alone = self._take(self._anchors[0], estimator.FEWEST)
            working.start()
            try:
                beside = self._take(self._anchors[0], estimator.FEWEST)
            finally:
                ended.set()
                working.join()
        before, after = (estimator.log_ratios(pairs, self._time) for pairs in (alone, beside))
        noise = max(estimator.deviation(before), self.limits.near)
        # Work that slows all models alike leaves ratios as they are, and would pass for the device's quiet state.
        slower = np.log(np.median(_seconds(beside)) / np.median(_seconds(alone)))
        moved = max(abs(float(np.median(after) - np.median(before))), float(slower))
        return not failures and moved <= noise and estimator.deviation(after) <= _WIDER * noise

    def join(self, candidates: Sequence[Sequence[Sequence[Pair]]]) -> list[dict[str, Measurement]]:
        """Measurements of finished models from pairs with the dense one that other processes took.

        A latency is certain where quiet moments of each process show it by the wall.

        Args:
            candidates: Of each model one sequence of pairs a process. The models share a process's blocks of the dense
                one; what those say of the device counts from here.
        """
        one = self._anchors[0]
        for pairs in candidates[0]:
            self.dense.look([pair.reference for pair in pairs])
        self.dense.settle()
        found = []
        for processes in candidates:
            certain = all(len(self._calm(pairs)) >= min(_CERTAIN, len(pairs)) for pairs in processes)
            ratio = self._ratio(processes, one, wall=certain)
            together = [pair for pairs in processes for pair in pairs]
            found.append(self._stated(ratio, together, one, valid=certain))
        return found

    def certain(self, pairs: Sequence[Pair]) -> bool:
        """Whether pairs of one process tell a finished model's ratio to the dense one precisely, and by the wall."""
        if len(self._calm(pairs)) < min(_CERTAIN, len(pairs)) or len(pairs) < _CERTAIN:
            return False
        return self._ratio([pairs], self._anchors[0], wall=True).half_width <= self.limits.far

    def restated(self, measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
        """See `Stating.restated`."""
        return self._stating.restated(measured)

    @contextlib.contextmanager
    def _taken(self, candidate: Artifact) -> Iterator[None]:
        """The candidate is ready to run, beside the models that it may be paired with."""
        if self.bench.generation() != self._generation:
            self._restart()
        self.bench.prepare(_CANDIDATE, candidate, self.limits.warm_s)
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
        """Blocks of the dense model, in small lots, as many as time allows."""
        blocks: list[Block] = []
        most, few = self.limits.baseline, estimator.FEWEST
        while len(blocks) < most and (len(blocks) < few or _spent(blocks) < self.limits.baseline_s):
            blocks += [blocks[0] for blocks in self._rounds([_REFERENCE], self.limits.lot)]
        return blocks

    def _nearest(self) -> _Anchor:
        """The anchor whose latency is nearest to the candidate's; one look at it tells."""
        if len(self._anchors) == 1:
            return self._anchors[0]
        ((block,),) = self.bench.rounds([_CANDIDATE], 1, 0.0, 2, self._draw())
        own = estimator.median(block, self._time) / self.dense.typical
        return min(self._anchors, key=lambda anchor: abs(math.log(own / anchor.worked.value)))

    def _lonely(self, ratio: float) -> bool:
        gaps = [abs(math.log(ratio / anchor.passed.value)) for anchor in self._anchors]
        room = len(self._anchors) < self._room and self._adoptions > 0
        return room and min(gaps) > math.log(_APART)

    def _adopt(self, candidate: Artifact) -> None:
        """The candidate becomes an anchor: its ratio to the dense model is pinned down once, for all that follow."""
        self._adoptions -= 1
        pairs: list[Pair] = []
        while len(pairs) < estimator.FEWEST or (
            estimator.ratio([self._known(pairs)], self._rng, self._time).half_width > _PINNED
            and len(pairs) < self.limits.most
            and _taken_s(pairs) < _LONGER * self.limits.cap_s
        ):
            pairs += self._take(self._anchors[0], self.limits.lot)
        if not self._single and 2 * len(self._calm(pairs)) < len(pairs):
            return
        worked, passed = (estimator.ratio([self._known(pairs)], self._rng, time) for time in (self._time, "wall"))
        name = f"anchor {len(self._anchors)}"
        with contextlib.suppress(DeviceError):  # no room for it twice; the candidate itself was measured
            self.bench.prepare(name, candidate)
            self._anchors.append(_Anchor(name, candidate, worked, passed))

    def _pairs(self, anchor: _Anchor, decision: Decision) -> tuple[list[Pair], str]:
        """Pairs until the ratio is known as precisely as it matters, or the cap; why not, if not."""
        pairs: list[Pair] = []
        while True:
            pairs += self._take(anchor, self.limits.lot)
            wanted = decision.precision(self._ratio([pairs], anchor), self.dense, self.limits)
            # An anchor's own doubt is nothing that more pairs would lessen.
            own = estimator.ratio([self._known(pairs)], self._rng, self._time, self._noise)
            if own.half_width <= wanted:
                self._learn(pairs)
                return pairs, ""
            if len(pairs) >= self.limits.most or _taken_s(pairs) > self.limits.cap_s:
                self._learn(pairs)
                return pairs, f"still wider than {wanted:.0%} after {len(pairs)} blocks"

    def _take(self, anchor: _Anchor, count: int) -> list[Pair]:
        return [Pair(*blocks) for blocks in self._rounds([_CANDIDATE, anchor.name], count)]

    def _rounds(self, names: Sequence[str], count: int) -> list[list[Block]]:
        return self.bench.rounds(names, count, self.limits.block_s, self.limits.block_runs, self._draw())

    def _draw(self) -> int:
        return int(self._rng.integers(2**31))

    @property
    def _time(self) -> Time:
        """By which time candidates are ranked."""
        return "cpu" if self._single else "wall"

    @property
    def _noise(self) -> float:
        """Standard deviation of the logarithm of one pair's ratio, as this run has shown it."""
        return float(np.median(self._deviations)) / 0.6745 if self._deviations else 0.0

    def _learn(self, pairs: Sequence[Pair]) -> None:
        """By how much single pairs differ from the middle of theirs."""
        if len(pairs) < 2:
            return
        logs = estimator.log_ratios(pairs, self._time)
        # The middle of few values is nearer to them than the true one.
        widened = math.sqrt(len(logs) / (len(logs) - 1))
        self._deviations += (np.abs(logs - np.median(logs)) * widened).tolist()
        del self._deviations[:-_REMEMBERED]

    def _calm(self, pairs: Sequence[Pair]) -> list[Pair]:
        return [
            pair
            for pair in pairs
            if quiet(pair.candidate, single=self._single) and quiet(pair.reference, single=self._single)
        ]

    def _mostly_calm(self, blocks: Sequence[Block]) -> bool:
        return 2 * sum(quiet(block, single=self._single) for block in blocks) >= len(blocks)

    def _known(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Pairs to learn from: all where processor time counts, which others do not change; else those of quiet
        moments, or all where these are too few."""
        if self._single:
            return pairs
        calm = self._calm(pairs)
        return calm if len(calm) >= min(self.limits.lot, len(pairs)) else pairs

    def _ratio(self, processes: Sequence[Sequence[Pair]], anchor: _Anchor, *, wall: bool = False) -> Interval:
        """A candidate's share of the dense model. wall: the wall must say so, too: its upper end counts, and of a model
        that waits by itself its value."""
        worked = estimator.ratio([self._known(pairs) for pairs in processes], self._rng, self._time, self._noise)
        worked = estimator.chained(worked, anchor.worked)
        if not self._single:
            return worked
        calm = [self._calm(pairs) for pairs in processes]
        if not all(calm):
            return worked
        passed = estimator.chained(estimator.ratio(calm, self._rng, "wall", self._noise), anchor.passed)
        return estimator.agreed(worked, passed, wall=wall)

    def _stated(
        self, ratio: Interval, pairs: Sequence[Pair], anchor: _Anchor, *, valid: bool, note: str = ""
    ) -> dict[str, Measurement]:
        calm, size = self._calm(pairs) or pairs, anchor.passed.value
        return self._stating.measurements(ratio, pairs, calm, size, self._rng, valid=valid, note=note)


def _seconds(pairs: Sequence[Pair]) -> list[float]:
    """The seconds of the dense model in each pair."""
    return [estimator.median(pair.reference) for pair in pairs]


def _spent(blocks: Sequence[Block]) -> float:
    """Seconds that the runs of some blocks took."""
    return sum(sum(block.wall_s) for block in blocks)


def _taken_s(pairs: Sequence[Pair]) -> float:
    """Seconds that the runs of some pairs took."""
    return _spent([block for pair in pairs for block in (pair.candidate, pair.reference)])
