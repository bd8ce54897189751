"""How long members and their bundle take, run on requests of a split. Knows benches and pairs; not policies or folders.

Of each request the median of a few runs counts, and the bundle and all of its members run it one after the other: what
the machine does meanwhile befalls them alike, and what is left differs from request to request. Where one thread works,
its processor time is what counts: who else has the processor is no matter of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from torch import nn

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import Bench
from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Measurement
from autoprune.core.metric import LATENCY, QUANTILES
from autoprune.core.reporter import Advance
from autoprune.deployment.bundle import Bundle
from autoprune.measure import limits
from autoprune.measure.estimator import RESAMPLES, Interval, quantiles
from autoprune.policies import Member, parts_of
from autoprune.surgery.example import Example
from autoprune.tasks.task import batch_size, rebatch

#: Requests that are run at least, whatever that takes.
_LEAST: Final = 12
#: Runs of each request, of which a bench leaves the first out.
_RUNS: Final = 4
#: Rounds of the example inputs, and runs in each, of which the first finds another model's data in the caches.
_ROUNDS, _COLD = 60, 2
_BUNDLE: Final = "bundle"
_ENDS: Final = (2.5, 97.5)

#: Seconds of each request, in the same order for all.
Seconds = list[float]


@dataclass(frozen=True)
class RequestTimer:
    """Runs requests on a bench. single: one thread works, and its processor time counts."""

    bench: Bench
    single: bool

    def members(self, models: Mapping[str, nn.Module], example: Example) -> list[Member]:
        """What policies know of models. models: by their name; example: one request."""
        batch = batch_size(example)
        parts = parts_of(batch)
        requests = {"": example, **{f"/{count}": rebatch(example, count) for count in parts}}
        names = [f"{name}{part}" for name in models for part in requests]
        for name, model in models.items():
            for part, inputs in requests.items():
                self.bench.prepare(f"{name}{part}", Artifact("module", module=(model, inputs)), limits.USUAL.warm_s)
        rounds = self.bench.alone(lambda: self.bench.rounds(names, _ROUNDS, 0.0, _COLD, 0))
        seconds = {name: [run for each in rounds for run in self._runs(each[k])] for k, name in enumerate(names)}
        for name in names:
            self.bench.release(name)
        found = []
        for name in models:
            whole = float(np.median(seconds[name]))
            late = float(np.quantile(seconds[name], 0.99))
            fewer = tuple(min(float(np.median(seconds[f"{name}/{count}"])), whole) for count in parts)
            found.append(Member(name=name, seconds=whole, late=late, parts=fewer, batch=batch))
        return found

    def served(
        self,
        bundle: Bundle,
        models: Mapping[str, nn.Module],
        calls: Sequence[Example],
        clock: Clock,
        advance: Advance,
        limit_s: float,
    ) -> tuple[Seconds, dict[str, Seconds]]:
        """Seconds of requests, answered by the bundle and by each model alone.

        Args:
            bundle: Whose policy draws what is said of each request.
            models: By name.
            calls: Requests.
            clock: Tells seconds.
            advance: Told of each request.
            limit_s: Seconds after which no further request is begun, once a few were.
        """
        chances = np.random.default_rng(0).random(len(calls))
        names = [_BUNDLE, *models]
        found: dict[str, Seconds] = {name: [] for name in names}
        start = clock.wall()
        for count, (call, chance) in enumerate(zip(calls, chances.tolist(), strict=True)):
            if count >= _LEAST and clock.wall() - start > limit_s:
                break
            together = {_BUNDLE: _Asked(bundle, bundle.drawn(chance)), **models}
            blocks = self.bench.alone(partial(self._round, together, call, count))
            for name, block in zip(names, blocks, strict=True):
                found[name].append(float(np.median(self._runs(block))))
            advance("")
        for name in names:
            self.bench.release(name)
        return found.pop(_BUNDLE), found

    def _round(self, models: Mapping[str, nn.Module], call: Example, seed: int) -> list[Block]:
        """A block of each model on one request."""
        for name, model in models.items():
            self.bench.prepare(name, Artifact("module", module=(model, call)), 0.0)
        (blocks,) = self.bench.rounds([*models], 1, 0.0, _RUNS, seed)
        return blocks

    def _runs(self, block: Block) -> Sequence[float]:
        return block.cpu_s if self.single else block.wall_s


def statistics(seconds: Seconds, **told: Any) -> dict[str, Measurement]:
    """The mean and quantiles over requests, by key. told: fields of measurements."""
    blocks = [Block((each,), (each,)) for each in seconds]
    intervals = quantiles(blocks, tuple(QUANTILES.values()), np.random.default_rng(0))
    keys = [f"{LATENCY}.{name}" for name in QUANTILES]
    return {
        key: Measurement(key, found.value, "s", found.low, found.high, n=len(seconds), **told)
        for key, found in zip(keys, intervals, strict=True)
    }


def share(seconds: Seconds, others: Seconds) -> Interval:
    """The mean of seconds in units of others' mean, request by request; requests are resampled."""
    pairs, rng = np.array([seconds, others]), np.random.default_rng(0)
    drawn = pairs[:, rng.integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))].mean(-1)
    low, high = np.percentile(drawn[0] / drawn[1], _ENDS)
    value = float(pairs[0].mean() / pairs[1].mean())
    return Interval(value, min(float(low), value), max(float(high), value))


class _Asked(nn.Module):
    """A bundle of whose request something is said."""

    def __init__(self, bundle: Bundle, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.bundle, self._call = bundle, bundle.asked(**facts)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)
