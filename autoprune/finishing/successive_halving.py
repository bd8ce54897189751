"""Fine-tuning of the few, early stopped. Knows runs, their checkpoints and what is told of them; not who trains.

A candidate's run goes on epoch by epoch. After each, its state is on disk and its score in the ledger, in this order:
a process that dies costs the epoch that it was in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.trial import Trial
from autoprune.finetuning import checkpoint
from autoprune.finishing.halving import HalvingRule
from autoprune.finishing.lane import Lane
from autoprune.finishing.tuner import EpochJob, EpochResult
from autoprune.finishing.tuning_study import TuningStudy
from autoprune.store.files import storing, write_atomic


@dataclass
class FinetuneRun:
    """One lane on its way; trial: its candidate. outcome: empty while it is trained, then "complete", "pruned", "fail",
    or "stopped" where the time was up."""

    trial: Trial
    lane: Lane
    done: int = 0
    scores: Mapping[str, Measurement] = field(default_factory=dict)
    outcome: str = ""
    error: str = ""
    busy: bool = False


class SuccessiveHalving:
    """The fine-tuning of a run's candidates, as far as they get.

    rule: says who goes on, and for how many epochs; values: quality as trained, by epoch and candidate; file_of: where
    the checkpoint of a candidate is; told: called after each epoch; worth(candidate, quality): by what candidates are
    compared, the higher, the better; late: whether there is no time for an epoch more.
    """

    def __init__(
        self,
        candidates: Sequence[Trial],
        rule: HalvingRule,
        *,
        quality: Metric,
        study: TuningStudy,
        file_of: Callable[[Lane], Path],
        told: Callable[[EpochResult], None],
        worth: Callable[[Trial, float], tuple[float, ...]],
        late: Callable[[], bool] = lambda: False,
    ) -> None:
        self.epochs, self.rule = rule.epochs, rule
        trials = {trial.number: trial for trial in candidates}
        self.runs = {lane: FinetuneRun(trials[lane.candidate], lane) for lane in rule.members}
        self.values: dict[int, dict[Lane, float]] = {}
        self._quality, self._study, self._file_of, self._told = quality, study, file_of, told
        self._worth, self._late = worth, late
        for run in self.runs.values():
            self._restore(run)
        self._settle()

    @property
    def open(self) -> list[FinetuneRun]:
        """Runs that are neither finished nor stopped."""
        return [run for run in self.runs.values() if not run.outcome]

    def jobs(self) -> Iterator[EpochJob | None]:
        """Epochs to train; None: nothing until the next is reported."""
        while self.open:
            run = self.next()
            if run is None:
                if self.open:
                    yield None
                continue
            state = self.state(run) if run.done else b""
            compared = self.rule.compared(run.lane)
            yield EpochJob(run.lane, run.trial.plan, done=run.done, state=state, compared=compared, scores=run.scores)

    def next(self) -> FinetuneRun | None:
        """A run that is to go on and that nobody trains, from here on busy; None: none until the next is reported."""
        if self._late():
            self._stop()
            return None
        ready = [run for run in self.open if not run.busy and self._decided(run) == "go"]
        if not ready:
            return None
        # Bin after bin, and in a bin one after the other to the next rung: a model at hand is trained on.
        ready.sort(key=lambda run: (self.rule.members[run.lane], -run.done, run.lane))
        ready[0].busy = True
        return ready[0]

    def go_on(self, lane: Lane) -> bool:
        """Whether who has trained this lane is to train it for the next epoch too; it is busy then."""
        run = self.runs[lane]
        if self._late():
            self._stop()
        run.busy = not run.outcome and self._decided(run) == "go"
        return run.busy

    def state(self, run: FinetuneRun) -> bytes:
        """What the run's last epoch left.

        Raises:
            StorageError: its file cannot be read.
        """
        path = self.file(run)
        with storing(path):
            return path.read_bytes()

    def file(self, run: FinetuneRun) -> Path:
        """Where the state of a run is kept."""
        return self._file_of(run.lane)

    def report(self, result: EpochResult) -> None:
        """Take in an epoch: keep its state, tell its score, and stop what is not to go on."""
        run = self.runs[result.lane]
        run.busy = False
        if result.error:
            run.outcome, run.error = "fail", result.error
            self.rule.drop(result.lane)
            self._study.end(result.lane, "fail", error=result.error)
        else:
            write_atomic(self._file_of(result.lane), result.state)
            self._tell(run, result.done, result.scores)
            self._told(result)
        self._settle()

    def _tell(self, run: FinetuneRun, done: int, scores: Mapping[str, Measurement]) -> None:
        """A run that skips epochs, as they would be for nothing, comes to their rungs as it is."""
        run.done, run.scores = done, scores
        if scores:
            value, lane = scores[self._quality.name].value, run.lane
            rungs = (rung for rung in self.rule.compared(lane) if rung < done)
            for epoch in (*(rung for rung in rungs if lane not in self.values.get(rung, {})), done):
                self._study.report(lane, epoch, value)
                self._rank(run, epoch, value)

    def _rank(self, run: FinetuneRun, epoch: int, value: float) -> None:
        """A candidate counts as it would be finished: as trained, or as repaired where training did harm so far; of
        what counts the same, as recipes of a candidate do then, the better trained one is ahead."""
        self.values.setdefault(epoch, {})[run.lane] = value
        lower = self._quality.lower_is_better
        reached = (min if lower else max)(value, run.trial.value(self._quality.name))
        self.rule.report(run.lane, epoch, (*self._worth(run.trial, reached), -value if lower else value))

    def _stop(self) -> None:
        """End the runs that nobody trains as they are."""
        for run in self.open:
            if not run.busy:
                run.outcome = "stopped"
                self._study.end(run.lane, "stopped")

    def _decided(self, run: FinetuneRun) -> str:
        return self.rule.decision(run.lane, run.done) if run.done else "go"

    def _settle(self) -> None:
        """End the runs whose last word is spoken."""
        for run in self.open:
            decided = self._decided(run)
            if decided == "end":
                run.outcome = "complete"
                self._study.end(run.lane, "complete", run.scores[self._quality.name].value)
            elif decided == "stop":
                run.outcome = "pruned"
                self._study.end(run.lane, "pruned")
                self._file_of(run.lane).unlink(missing_ok=True)

    def _restore(self, run: FinetuneRun) -> None:
        """Go on where an earlier process was; from the beginning where its checkpoint is gone."""
        lane = run.lane
        told = self._study.told.get(lane)
        kept = checkpoint.read(self._file_of(lane))
        if kept is not None and kept.epochs != self.epochs:
            kept = None
        if told is not None and told.state == "running" and not told.values and kept is None:
            return  # it had begun, and no more
        if told is None or (told.state in ("running", "complete") and kept is None):
            if told is not None and told.state == "running":
                self._study.end(lane, "fail", error="its checkpoint is gone; fine-tuned anew")
            self._file_of(lane).unlink(missing_ok=True)  # an earlier choice's would be taken for this one's
            self._study.begin(lane, self.rule.members[lane])
            return
        reached = kept.done if told.state == "running" and kept is not None else max(told.values, default=0)
        for epoch, value in told.values.items():
            if kept is None or epoch <= kept.done:
                if decided := "go" if epoch < reached else {"pruned": "stop", "complete": "end"}.get(told.state):
                    self.rule.settle(lane, epoch, decided)
                self._rank(run, epoch, value)
        if told.state == "running" and kept is not None:
            if kept.done in told.values:
                run.done, run.scores = kept.done, kept.scores
            else:
                self._tell(run, kept.done, kept.scores)
            return
        run.outcome, run.done, run.error = told.state, max(told.values, default=0), told.error
        if kept is not None:
            run.done, run.scores = max(run.done, kept.done), kept.scores  # epochs that decide nothing are not told
        if told.state == "fail":
            self.rule.drop(lane)
