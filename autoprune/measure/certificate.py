"""Finished models in fresh processes, as they will run where they are deployed. Knows processes, rounds and how long
all of it may take; what the pairs mean is the session's business."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import AnyBench
from autoprune.core.clock import Clock
from autoprune.core.reporter import Advance, Reporter
from autoprune.measure.estimator import Pair
from autoprune.measure.limits import Limits
from autoprune.remote.client import WorkerBench
from autoprune.remote.packing import accepted

PROCESSES: Final = 3
_DENSE: Final = "dense"
#: After so many rounds a quiet machine would have told enough; how often it is said that one is waited for.
_PATIENT, _TELL_S = 12, 2.0

#: For each model, one list of pairs with the dense one a process.
Pairs = list[list[list[Pair]]]


@dataclass(frozen=True)
class Certificate:
    """Takes pairs of finished models with the dense one.

    Attributes:
        opened: Begins to open a fresh process.
        dense: The dense model.
        room: Models that a process holds beside it.
        certain: Whether a model's pairs of one process say enough.
        seed: Of the order of blocks.
        together: Whether all processes are open at a time, which takes less time, and memory for each of them.
        waited: Called with the seconds that went into waiting for a quiet machine.
    """

    opened: Callable[[], WorkerBench]
    dense: Artifact
    room: int
    certain: Callable[[Sequence[Pair]], bool]
    limits: Limits
    clock: Clock
    reporter: Reporter
    seed: int
    together: bool = True
    waited: Callable[[float], None] = lambda seconds: None

    def take(self, models: Sequence[Iterable[Artifact]], advance: Advance) -> Pairs:
        """Pairs of all models in each of `PROCESSES` processes, which measure one after the other.

        Args:
            models: Of each the artifacts that tell it, of which the first counts that the device accepts.
            advance: Called as each process is through.

        Raises:
            DeviceError: a process does not open, or accepts nothing of a model.
        """
        found: Pairs = [[] for _ in models]
        choices = list(models)
        benches: list[WorkerBench] = []
        left = self.limits.certify_s
        try:
            for place in range(PROCESSES):
                while len(benches) < (PROCESSES if self.together else place + 1):
                    benches.append(self.opened())
                for each in benches[place:]:
                    each.fingerprint()  # all have opened before the first measures
                bench, start = benches[place], self.clock.wall()
                bench.prepare(_DENSE, self.dense, self.limits.warm_s)
                lots = range(0, len(choices), self.room)
                for lot, first_ in enumerate(lots):
                    until = start + left / (PROCESSES - place) * (lot + 1) / len(lots)
                    names = [str(each) for each in range(first_, min(first_ + self.room, len(choices)))]
                    for name in names:
                        choices[int(name)] = [_prepared(bench, name, choices[int(name)], self.limits.warm_s)]
                    for name, pairs in self._rounds(bench, names, until, self.seed + 1000 * place).items():
                        found[int(name)].append(pairs)
                    for name in names:
                        bench.release(name)
                bench.close()
                left -= self.clock.wall() - start
                advance("")
        finally:
            for bench in benches:
                bench.close()
        return found

    def _rounds(self, bench: AnyBench, names: Sequence[str], until: float, seed: int) -> dict[str, list[Pair]]:
        """Rounds of the dense model and all others until each of these is certain, or the time is up."""
        found: dict[str, list[Pair]] = {name: [] for name in names}
        least, most = self.limits.certify_rounds
        start = told = self.clock.wall()
        patient: float | None = None
        for count in range(1, most + 1):
            (blocks,) = bench.rounds([_DENSE, *names], 1, self.limits.block_s, self.limits.block_runs, seed + count)
            for name, block in zip(names, blocks[1:], strict=True):
                found[name].append(Pair(block, blocks[0]))
            now = self.clock.wall()
            if count >= least and (now >= until or all(map(self.certain, found.values()))):
                break
            if count >= _PATIENT and now - told > _TELL_S:
                told = now
                self.reporter.note(f"waiting for a quiet machine, {now - start:.0f} s of at most {until - start:.0f} s")
            patient = now if count == _PATIENT else patient
        if patient is not None:
            self.waited(self.clock.wall() - patient)
        return found


def _prepared(bench: AnyBench, name: str, artifacts: Iterable[Artifact], warm_s: float) -> Artifact:
    """Prepare the first artifact that the device accepts, and return it."""

    def prepared(artifact: Artifact) -> Artifact:
        bench.prepare(name, artifact, warm_s)
        return artifact

    return accepted(artifacts, prepared)
