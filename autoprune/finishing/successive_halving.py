"""Fine-tuning of the few, early stopped. Knows lanes, their checkpoints and what is told of them; not who trains.

A candidate's lane goes on epoch by epoch. After each, its state is on disk and its score in the ledger, in this order:
a process that dies costs the epoch that it was in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.trial import Trial
from autoprune.finishing.halving import Halving
from autoprune.finishing.tuner import Stint, Stinted
from autoprune.finishing.tuning_study import TuningStudy
from autoprune.store.files import storing, write_atomic
from autoprune.training import checkpoint


@dataclass
class Lane:
    """One candidate on its way. outcome: empty while it is trained, then "complete", "pruned" or "fail"."""

    trial: Trial
    done: int = 0
    scores: Mapping[str, Measurement] = field(default_factory=dict)
    outcome: str = ""
    error: str = ""
    busy: bool = False


class Ladder:
    """The fine-tuning of a run's candidates for `epochs` each, as far as they get.

    values: quality as trained, by epoch and candidate; bins: candidate -> its bin; file_of: where the checkpoint of a
    candidate is; told: called after each epoch, with the candidate, the epoch, its quality where it was scored, and
    its loss; worth(candidate, quality): by what candidates are compared, the higher, the better.
    """

    def __init__(
        self,
        candidates: Sequence[Trial],
        bins: Mapping[int, int],
        epochs: int,
        quality: Metric,
        study: TuningStudy,
        file_of: Callable[[int], Path],
        told: Callable[[int, int, float | None, float], None],
        worth: Callable[[Trial, float], tuple[float, ...]],
    ) -> None:
        self.epochs, self.halving = epochs, Halving(epochs, bins)
        self.lanes = {trial.number: Lane(trial) for trial in candidates}
        self.values: dict[int, dict[int, float]] = {}
        self._quality, self._study, self._file_of, self._told = quality, study, file_of, told
        self._worth = worth
        for number, lane in self.lanes.items():
            self._restore(number, lane)
        self._settle()

    @property
    def open(self) -> list[Lane]:
        """Lanes that are neither finished nor stopped."""
        return [lane for lane in self.lanes.values() if not lane.outcome]

    def jobs(self) -> Iterator[Stint | None]:
        """Epochs to train; None: nothing until the next is reported."""
        while self.open:
            lane = self.next()
            if lane is None:
                yield None
                continue
            state = self.state(lane) if lane.done else b""
            compared = self.halving.compared(lane.trial.number)
            yield Stint(lane.trial.number, lane.trial.plan, lane.done, state, compared)

    def next(self) -> Lane | None:
        """A lane that is to go on and that nobody trains, from here on busy; None: none until the next is reported."""
        ready = [lane for lane in self.open if not lane.busy and self._decided(lane) == "go"]
        if not ready:
            return None
        # Bin after bin, and in a bin one after the other to the next rung: a model at hand is trained on.
        ready.sort(key=lambda lane: (self.halving.members[lane.trial.number], -lane.done, lane.trial.number))
        ready[0].busy = True
        return ready[0]

    def go_on(self, number: int) -> bool:
        """Whether who has trained this candidate is to train it for the next epoch too; it is busy then."""
        lane = self.lanes[number]
        lane.busy = not lane.outcome and self._decided(lane) == "go"
        return lane.busy

    def state(self, lane: Lane) -> bytes:
        """What the lane's last epoch left.

        Raises:
            StorageError: its file cannot be read.
        """
        path = self.file(lane)
        with storing(path):
            return path.read_bytes()

    def file(self, lane: Lane) -> Path:
        """Where the state of a lane is kept."""
        return self._file_of(lane.trial.number)

    def report(self, result: Stinted) -> None:
        """Take in an epoch: keep its state, tell its score, and stop what is not to go on."""
        lane = self.lanes[result.number]
        lane.busy = False
        if result.error:
            lane.outcome, lane.error = "fail", result.error
            self.halving.drop(result.number)
            self._study.end(result.number, "fail", error=result.error)
        else:
            write_atomic(self._file_of(result.number), result.state)
            self._tell(lane, result.done, result.scores)
            scored = result.scores.get(self._quality.name)
            self._told(result.number, result.done, None if scored is None else scored.value, result.loss)
        self._settle()

    def _tell(self, lane: Lane, done: int, scores: Mapping[str, Measurement]) -> None:
        lane.done, lane.scores = done, scores
        if scores:
            value = scores[self._quality.name].value
            self._study.report(lane.trial.number, done, value)
            self._rank(lane, done, value)

    def _rank(self, lane: Lane, epoch: int, value: float) -> None:
        """A candidate counts as it would be finished: as trained, or as healed where training did harm."""
        self.values.setdefault(epoch, {})[lane.trial.number] = value
        better = min if self._quality.lower_is_better else max
        reached = better(value, lane.trial.value(self._quality.name))
        self.halving.report(lane.trial.number, epoch, self._worth(lane.trial, reached))

    def _decided(self, lane: Lane) -> str:
        return self.halving.decision(lane.trial.number, lane.done) if lane.done else "go"

    def _settle(self) -> None:
        """End the lanes whose last word is spoken."""
        for lane in self.open:
            decided = self._decided(lane)
            if decided == "end":
                lane.outcome = "complete"
                self._study.end(lane.trial.number, "complete", lane.scores[self._quality.name].value)
            elif decided == "stop":
                lane.outcome = "pruned"
                self._study.end(lane.trial.number, "pruned")
                self._file_of(lane.trial.number).unlink(missing_ok=True)

    def _restore(self, number: int, lane: Lane) -> None:
        """Go on where an earlier process was; from the beginning where its checkpoint is gone."""
        told = self._study.told.get(number)
        kept = checkpoint.read(self._file_of(number))
        if kept is not None and kept.epochs != self.epochs:
            kept = None
        if told is not None and told.state == "running" and not told.values and kept is None:
            return  # it had begun, and no more
        if told is None or (told.state in ("running", "complete") and kept is None):
            if told is not None and told.state == "running":
                self._study.end(number, "fail", error="its checkpoint is gone; fine-tuned anew")
            self._file_of(number).unlink(missing_ok=True)  # an earlier choice's would be taken for this one's
            self._study.begin(number, self.halving.members[number])
            return
        for epoch, value in told.values.items():
            if kept is None or epoch <= kept.done:
                self._rank(lane, epoch, value)
        if told.state == "running" and kept is not None:
            if kept.done in told.values:
                lane.done, lane.scores = kept.done, kept.scores
            else:
                self._tell(lane, kept.done, kept.scores)
            return
        lane.outcome, lane.done = told.state, max(told.values, default=0)
        if kept is not None:
            lane.scores = kept.scores
        if told.state == "fail":
            self.halving.drop(number)
