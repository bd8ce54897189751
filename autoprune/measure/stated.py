"""From pairs of blocks to measurements by key. Knows what they are called and what is derived from what; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, LATENCY, QUANTILES, RELATIVE, SLOW_HOURS, MetricKey
from autoprune.core.rate import Rate, rated
from autoprune.measure import estimator
from autoprune.measure.estimator import Interval, Pair
from autoprune.measure.reference import Reference, scaled


@dataclass(frozen=True)
class Stating:
    """What all measurements of a session have in common.

    Attributes:
        dense: The dense model's latency so far.
        batch: Samples of a run.
        device: Its fingerprint.
        profiler: By name.
        rates: By which other costs follow.
    """

    dense: Reference
    batch: int
    device: str
    profiler: str
    rates: Sequence[Rate] = ()

    def derived(self, ratio: Interval) -> dict[str, Interval]:
        """What follows from a ratio to the dense model: latency in quiet moments and in slow hours, and throughput."""
        latency = estimator.chained(ratio, self.dense.latency)
        return {
            "latency": latency,
            str(SLOW_HOURS): scaled(ratio, self.dense.slow),
            "throughput": Interval(self.batch / latency.value, self.batch / latency.high, self.batch / latency.low),
        }

    def measurements(
        self,
        ratio: Interval,
        pairs: Sequence[Pair],
        calm: Sequence[Pair],
        size: float,
        rng: np.random.Generator,
        *,
        valid: bool,
        note: str = "",
    ) -> dict[str, Measurement]:
        """Measurements of a model by key.

        Args:
            ratio: Its share of the dense model's latency.
            pairs: What was taken of it.
            calm: Those of quiet moments, or all where these are too few.
            size: By how many times what it was paired with takes as long as the dense model.
            rng: Draws the resamples of quantiles.
            valid: Whether nothing disturbed it beyond what the interval says.
            note: Why the interval is wider than was asked; empty where it is not.
        """
        doubts = [*[note] * bool(note), *["other work had the processor most of the time"] * (not valid)]
        runs, told = sum(len(pair.candidate.wall_s) for pair in pairs), "; ".join(doubts)

        def made(key: str, unit: str, found: Interval) -> Measurement:
            ends = (found.value, unit, found.low, found.high)
            return Measurement(key, *ends, runs, valid, not note, self.device, self.profiler, note=told)

        measured = {str(RELATIVE): made(str(RELATIVE), "1", ratio)}
        for name, found in self.derived(ratio).items():
            measured[name] = made(name, COSTS[MetricKey.parse(name).metric].unit, found)
        # Quantiles of single runs in units of the other model's median then, so that they read as of a typical moment.
        now = float(np.median([estimator.median(pair.reference) for pair in calm])) / size
        of_runs = estimator.quantiles([pair.candidate for pair in calm], [*QUANTILES.values()], rng)
        for key, quantile in zip(QUANTILES, of_runs, strict=True):
            latency = estimator.chained(scaled(quantile, 1 / now), self.dense.latency)
            name = str(MetricKey("latency", key))
            measured[name] = made(name, "s", latency)
        blocks = [pair.candidate for pair in pairs]
        metered = [(block.joules, len(block.wall_s)) for block in blocks if block.joules is not None]
        if metered:
            # Counters move seldom within a block: their sum is right where single readings are not.
            joules, weights = np.array(metered).T
            value = float(np.average(joules, weights=weights))
            error = 2 * float(np.std(joules)) / math.sqrt(len(joules))
            measured["energy"] = made("energy", "J", Interval(value, max(value - error, 0.0), value + error))
        return {**measured, **rated(measured, self.rates)}

    def restated(self, measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
        """Earlier measurements of a candidate as they read with what is known of the dense model by now."""
        relative = measured[str(RELATIVE)]
        ratio = Interval(relative.value, relative.low, relative.high)
        grown = estimator.chained(ratio, self.dense.latency).value / measured["latency"].value
        again = {
            key: replace(each, value=each.value * grown, low=each.low * grown, high=each.high * grown)
            for key, each in measured.items()
            if (of := MetricKey.parse(key)).plain == LATENCY and of.statistic and of != RELATIVE
        }
        derived = {
            key: replace(measured[key], value=found.value, low=found.low, high=found.high)
            for key, found in self.derived(ratio).items()
            if key in measured
        }
        found = {**measured, **again, **derived}
        return {**found, **rated(found, self.rates)}
