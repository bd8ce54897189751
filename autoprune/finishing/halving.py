"""Which of the lanes that are being fine-tuned go on. Knows bins, rungs and scores; not how anything is trained.

Successive halving (Jamieson and Talwalkar 2016) inside bins of similar cost: over all candidates at once it would keep
the largest models only, since those score best at every rung.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from autoprune.finishing.lane import Lane

#: One of so many goes on at a rung.
ETA: Final = 3

T = TypeVar("T")


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs at which candidates are compared, the last of them the end: 27 gives 3, 9, 27; 6 gives 2, 6.

    One epoch of many is too early to tell: it is a rung of short trainings only.
    """
    found = [epochs] if epochs else []
    while found and (below := math.ceil(found[0] / ETA)) >= (1 if 1 < found[0] == epochs else 2):
        found.insert(0, below)
    return tuple(found)


def stretches(lanes: int, epochs: int) -> list[tuple[int, int]]:
    """Of the lanes of one bin: how many are trained to each rung, and for how many epochs from the one before."""
    found, before = [], 0
    for rung in rungs(epochs):
        found.append((lanes, rung - before))
        lanes, before = math.ceil(lanes / ETA), rung
    return found


def bins(candidates: Sequence[T], count: int) -> list[list[T]]:
    """Candidates in order of their cost, in at most `count` bins of nearly equal number."""
    count = min(count, len(candidates))
    edges = [round(place * len(candidates) / count) for place in range(count + 1)] if count else []
    return [list(candidates[a:b]) for a, b in itertools.pairwise(edges)]


@dataclass
class HalvingRule:
    """The rungs of one set of bins. members: lane -> its bin; scores: the higher, the better."""

    epochs: int
    members: Mapping[Lane, int]
    _scores: dict[tuple[Lane, int], tuple[float, ...]] = field(default_factory=dict, init=False)
    _out: set[Lane] = field(default_factory=set, init=False)
    _given: dict[tuple[Lane, int], str] = field(default_factory=dict, init=False)

    @property
    def most(self) -> int:
        """Epochs of all lanes together, where none fails."""
        begun = Counter(self.members.values()).values()
        return sum(lanes * each for count in begun for lanes, each in stretches(count, self.epochs))

    def report(self, lane: Lane, epoch: int, score: tuple[float, ...]) -> None:
        """A lane has been trained for so many epochs."""
        self._scores[lane, epoch] = score

    def settle(self, lane: Lane, epoch: int, decision: str) -> None:
        """What an earlier process decided: nothing to keep, as the same scores say it again, in whatever order."""

    def drop(self, lane: Lane) -> None:
        """A lane failed: nobody waits for it."""
        self._out.add(lane)

    def compared(self, lane: Lane) -> tuple[int, ...]:
        """Epochs after which a lane's score decides something: the last, and rungs where it has company."""
        company = sum(place == self.members[lane] for place in self.members.values()) > 1
        return rungs(self.epochs) if company else (self.epochs,)

    def decision(self, lane: Lane, epoch: int) -> str:
        """After so many epochs of a lane: "go", "wait" for others of its bin, "stop", or, of its best, "end".

        A decision once given stays: who is told to go or to stop was compared with all of its bin.
        """
        if lane in self._out:
            return "stop"
        if epoch not in self.compared(lane):
            return "go"
        if (lane, epoch) in self._given:
            return self._given[lane, epoch]
        rivals = [each for each, place in self.members.items() if place == self.members[lane]]
        # Those who were stopped at an earlier rung are not compared here.
        alive = [each for each in rivals if each not in self._out and not self._stopped(each, epoch)]
        if any((each, epoch) not in self._scores for each in alive):
            return "wait"
        last = epoch == self.epochs
        keep, good = (1, "end") if last else (math.ceil(len(alive) / ETA), "go")
        ranked = sorted(alive)
        ranked.sort(key=lambda each: self._scores[each, epoch], reverse=True)
        self._given |= {(each, epoch): good if place < keep else "stop" for place, each in enumerate(ranked)}
        return self._given.get((lane, epoch), "stop")

    def _stopped(self, lane: Lane, before: int) -> bool:
        return any(
            (lane, rung) in self._scores and self.decision(lane, rung) == "stop"
            for rung in rungs(self.epochs)
            if rung < before
        )


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation, equal values at their mean rank; NaN where one side does not vary (Spearman 1904)."""
    a, b = _ranks(left), _ranks(right)
    mean = (len(a) - 1) / 2
    both = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    spread = math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return both / spread if spread else math.nan


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
