"""How much fine-tuning there is time for. Knows how long an epoch takes, by training on a few batches; no ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autoprune.core.clock import Clock
from autoprune.core.deadline import Deadline
from autoprune.finetuning.rate import TRIED
from autoprune.finishing.halving import ETA, rungs, stretches
from autoprune.finishing.tuner import EpochJob, Tuner

#: Epochs of training after which candidates' ranks say something of their end.
TELLING: Final = 3
#: Of the time for fine-tuning, what one batch may take for another one to be tried.
_QUICK: Final = 0.02
#: Fewer finalists are trained before they are trained for less than this.
_LEAST: Final = 2


def contenders(epochs: int) -> int:
    """Candidates a finalist that begin to be trained: after an epoch or two a candidate's rank says less of its end
    than its score as repaired does."""
    return ETA if epochs and rungs(epochs)[0] >= TELLING else 1


@dataclass(frozen=True, kw_only=True)
class FinishingTime:
    """What finishing may take.

    Attributes:
        training: When fine-tuning is to end.
        measuring: When finished models are to have been measured again.
        scoring: Seconds of a score.
        opening: Seconds in which a process opens that measures.
        workers: Candidates that are trained at a time.
    """

    training: Deadline
    measuring: Deadline
    scoring: float
    opening: float
    workers: int


@dataclass(frozen=True, kw_only=True)
class TrainingPace:
    """Seconds of fine-tuning.

    Attributes:
        begin: Of a candidate before its first epoch: cutting, repairing, asking the teacher.
        epoch: Of an epoch, with its score where each has one.
        score: Of a score, of which there is one a rung.
        rate: Of finding a learning rate.
    """

    begin: float
    epoch: float
    score: float
    rate: float

    @classmethod
    def of(cls, tuner: Tuner, job: EpochJob, batches: int, time: FinishingTime, clock: Clock) -> TrainingPace:
        """Train on a batch to learn it, and where that was quick on another one, before which nothing is left to do.

        Args:
            tuner: Whose train split is one batch, for two epochs at least.
            job: A candidate's first epoch.
            batches: Of the whole split.
            time: What finishing may take.
            clock: That tells seconds.
        """
        start = clock.wall()
        first = tuner(job)
        took = clock.wall() - start
        batch, begin = took, 0.0
        if took < _QUICK * time.training.left:
            start = clock.wall()
            tuner(EpochJob(job.lane, job.plan, first.done, first.state))
            batch = clock.wall() - start
            begin = max(took - batch, 0.0)
        return cls(begin=begin, epoch=batch * batches, score=time.scoring, rate=batch * TRIED)

    def total(self, epochs: int, finalists: int, recipes: int = 1) -> float:
        """Seconds of one worker for so many finalists, each trained for so many epochs; recipes: of each contender."""
        begun = recipes * contenders(epochs) if epochs else 0
        trained = sum(lanes * (each * self.epoch + self.score) for lanes, each in stretches(begun, epochs))
        return finalists * (begun * self.begin + trained)

    def affordable(self, epochs: int, finalists: int, recipes: int, seconds: float) -> tuple[int, int, int]:
        """Epochs, finalists and recipes for which there is time: fewer recipes first, then fewer epochs, then fewer
        finalists; none, if need be.

        Args:
            epochs: At most.
            finalists: At most.
            recipes: At most; of more than one a lane is begun for each contender.
            seconds: Of one worker.
        """
        few = min(_LEAST, epochs)
        choices = [(epochs, finalists, each) for each in range(recipes, 1, -1)]
        choices += [(each, finalists, 1) for each in range(epochs, few - 1, -1)]
        choices += [(few, each, 1) for each in range(finalists - 1, 0, -1)]
        choices += [(1, 1, 1)]
        return next((each for each in choices if self.total(*each) <= seconds), (0, finalists, 1))
