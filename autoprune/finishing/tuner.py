"""One epoch of fine-tuning of one candidate. Knows how a candidate is made and scored; not which goes on, or where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import safetensors.torch

from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.errors import AutopruneError, describe
from autoprune.finetuning import checkpoint
from autoprune.finetuning.best_epoch import BestEpoch, taken
from autoprune.finetuning.finetune import load_state
from autoprune.finetuning.teacher import Teacher
from autoprune.finishing.lane import Lane
from autoprune.options.training_options import TrainingOptions
from autoprune.searching.candidate import Evaluator
from autoprune.surgery import CutModel
from autoprune.training.phases import PhaseTraining, shapes
from autoprune.training.schedules import phases_of
from autoprune.training.surgeon import Surgeon


@dataclass(frozen=True)
class EpochJob:
    """One more epoch of a candidate.

    Attributes:
        lane: The candidate, and how it is trained.
        plan: Of the candidate.
        done: Epochs before this one.
        state: Where the last one ended; empty at the beginning.
        scores: As they were told after the last epoch; none where it was not scored.
        compared: Epochs after which the candidate is scored; the last one always is.
    """

    lane: Lane
    plan: Plan
    done: int
    state: bytes = field(default=b"", repr=False)
    compared: tuple[int, ...] = ()
    scores: Mapping[str, Measurement] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochResult:
    """What an epoch gave.

    Attributes:
        lane: Of the job.
        done: Epochs so far; all of them where those that are left would be for nothing.
        scores: On the search split, by metric; none where they decide nothing.
        state: All that the next epoch needs.
        loss: Of the last batch.
        error: Why it failed.
    """

    lane: Lane
    done: int
    scores: Mapping[str, Measurement] = field(default_factory=dict)
    state: bytes = field(default=b"", repr=False)
    loss: float = math.nan
    error: str = ""


class Tuner:
    """Trains candidates epoch by epoch, wherever it is asked to; the candidate of the last epoch is kept at hand."""

    def __init__(self, evaluator: Evaluator, options: TrainingOptions, seed: int) -> None:
        self.evaluator, self.options = evaluator, options
        self._seed = seed
        self._held: PhaseTraining | None = None
        self._best: BestEpoch | None = None
        self._lane: Lane | None = None
        self._teachers: dict[str, Teacher | None] = {}

    def __call__(self, job: EpochJob) -> EpochResult:
        """Never raises for what a candidate does."""
        try:
            training = self._training(job)
            loss = training.epoch()
            done, patient = training.done, bool(self.options.patience) and training.last
            wanted = patient or done in (*job.compared, self.options.epochs)
            scores: Mapping[str, Measurement] = self._scores(training, job.plan) if wanted else {}
            tensors = training.state()
            if patient:
                if self._best is None or self._better(scores, self._best.scores):
                    self._best = BestEpoch.of(done, scores, tensors)
                tensors, scores = self._best.put(tensors), self._best.scores
                done = self.options.epochs if done - self._best.number >= self.options.patience else done
            state = safetensors.torch.save(tensors, checkpoint.metadata(done, self.options.epochs, scores))
            return EpochResult(job.lane, done, scores, state, loss)
        except Exception as error:
            self._forget()
            return self.lost(job, str(error) if isinstance(error, AutopruneError) else describe(error))

    @property
    def rate_told(self) -> str:
        """The learning rate, for people."""
        if self.evaluator.task.train is not None:
            return "that of Task.train"
        return "that of the task's own optimizer" if self.options.rate is None else f"{self.options.rate:g}"

    def lost(self, job: EpochJob, reason: str) -> EpochResult:
        """What became of an epoch that never came back."""
        return EpochResult(job.lane, job.done, error=reason)

    def reached(self, plan: Plan, done: int) -> bool:
        """Whether a candidate is what its plan says after so many epochs: until its last phase it is a larger one."""
        *before, _ = phases_of(self.options, plan, self.evaluator.traced.groups)
        return done > sum(phase.epochs for phase in before)

    def model(self, plan: Plan, state: bytes) -> CutModel:
        """A candidate as a state of its last phase has it, in eval mode."""
        tensors = safetensors.torch.load(state)
        slices, zeros = shapes(tensors)
        cut = self._surgeon.rebuilt(plan, slices, zeros) if slices else self.evaluator.bare(plan)
        load_state(cut.model, tensors)
        return cut

    @property
    def _surgeon(self) -> Surgeon:
        evaluator = self.evaluator
        return Surgeon(
            task=evaluator.task,
            traced=evaluator.traced,
            ranking=evaluator.ranking,
            criterion=self.options.criterion,
            repair=self.options.repair,
            clock=evaluator.clock,
        )

    def _scores(self, training: PhaseTraining, plan: Plan) -> dict[str, Measurement]:
        """As the model is run, once it is cut no more; until then it has a shape that no device has seen."""
        if training.last:
            return self.evaluator.scores(replace(training.cut, plan=plan), "search")
        return self.evaluator.task.score(training.model, "search")

    def _better(self, scores: Mapping[str, Measurement], than: Mapping[str, Measurement]) -> bool:
        quality = self.evaluator.task.quality
        now, before = scores[quality.name].value, than[quality.name].value
        return now < before if quality.lower_is_better else now > before

    def _training(self, job: EpochJob) -> PhaseTraining:
        if self._held is not None and (self._lane, self._held.done) == (job.lane, job.done):
            return self._held
        options = job.lane.variant.of(self.options)
        if options.distill not in self._teachers:
            self._teachers[options.distill] = Teacher.of(self.evaluator.task, options, self.evaluator.traced)
        teacher = self._teachers[options.distill]
        phases = phases_of(options, job.plan, self.evaluator.traced.groups)
        first = self.evaluator.bare(phases[0].plan) if job.state else self.evaluator.cut(phases[0].plan)
        training = PhaseTraining(
            first, phases, surgeon=self._surgeon, teacher=teacher, options=options, seed=self._seed
        )
        self._best = None
        if job.state:
            state, self._best = taken(safetensors.torch.load(job.state), job.scores)
            training.load(state, job.done)
        self._held, self._lane = training, job.lane
        return training

    def _forget(self) -> None:
        self._held, self._best, self._lane, self._teachers = None, None, None, {}

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: not the model at hand."""
        return {**self.__dict__, "_held": None, "_best": None, "_lane": None, "_teachers": {}}
