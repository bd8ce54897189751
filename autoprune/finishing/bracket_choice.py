"""Who is fine-tuned, for how long and at which rate, as far as there is time. Knows the pace of training, which it
tries on a few batches; not who goes on, or what becomes of anyone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import length_hint
from typing import Final

from autoprune.core.metric import costs
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial
from autoprune.finetuning.rate import find_rate
from autoprune.finishing.choice import Choice
from autoprune.finishing.lane import Lane, variants
from autoprune.finishing.pacing import TELLING, FinishingTime, TrainingPace
from autoprune.finishing.tuner import EpochJob, Tuner
from autoprune.finishing.tuning_study import Bracket, TuningStudy
from autoprune.options.defaults import REGULARIZER, SCHEDULE
from autoprune.options.training_options import TrainingOptions
from autoprune.store.run import RunDirectory
from autoprune.training.schedules import TooShortError, phases_of

#: Of the time for fine-tuning, what finding its learning rate may take.
_RATE_OF_TIME: Final = 1 / 4


@dataclass(frozen=True, kw_only=True)
class BracketChoice:
    """Chooses brackets of fine-tuning.

    Attributes:
        choice: Who is finished, and how many.
        training: How models are fine-tuned, as far as it was said.
        seed: Of training.
        study: It keeps what was found.
        directory: Of the run.
        time: What all of it may take.
    """

    choice: Choice
    training: TrainingOptions
    seed: int
    study: TuningStudy
    directory: RunDirectory
    time: FinishingTime

    def pace(self, trials: Sequence[Trial]) -> TrainingPace | None:
        """How long fine-tuning takes, as the largest candidate tells; None where there is none."""
        candidates = [trial for side in self.choice.sides(trials) for trial in side]
        if not candidates:
            return None
        task, by = self.choice.evaluator.task, next(iter(costs(self.choice.objectives)), self.choice.objectives[0])
        part = replace(self.choice.evaluator, task=task.with_split("train", list(islice(task.split("train"), 1))))
        epochs = max(self.choice.effort.epochs, TELLING)
        largest = max(candidates, key=lambda trial: (trial.value(by.name), trial.number))
        # The first phase has the largest model; that it is cut again later is no part of an epoch.
        fitting = self.fitting(replace(self.training, epochs=epochs, patience=0))  # scores are timed already
        first = phases_of(fitting, largest.plan, part.traced.groups)[0].plan
        tuner = Tuner(part, _at_once(fitting), self.seed)
        batches = self.training.steps or max(length_hint(task.split("train")), 1)
        batches = batches if task.train is None else 1  # that trains on all that it has in any case
        pace = TrainingPace.of(tuner, EpochJob(Lane(largest.number), first, 0), batches, self.time, part.clock)
        return replace(pace, epoch=pace.epoch + pace.score) if self.training.patience else pace

    def round(self, trials: Sequence[Trial], pace: TrainingPace | None) -> Bracket:
        """Candidates for fine-tuning and its length, as far as there is time; where a time was said for it, what would
        be left of that goes into other recipes."""
        epochs, finalists = self.choice.effort.epochs, self.choice.effort.finalists
        recipes = variants(self.choice.evaluator.task, self.training)
        recipes = recipes if self.training.seconds is not None else recipes[:1]
        if pace is not None:
            seconds = self.time.training.left - (pace.rate if self._finds_rate(pace) else 0.0)
            epochs, finalists, count = pace.affordable(epochs, finalists, len(recipes), self.time.workers * seconds)
            recipes = recipes[:count]
        if epochs and (epochs, finalists) != (self.choice.effort.epochs, self.choice.effort.finalists):
            self.choice.reporter.note(f"there is time for {epochs} epochs of {finalists} finalists")
        fitting = replace(self.choice, effort=replace(self.choice.effort, epochs=epochs, finalists=finalists))
        if epochs and len(recipes) > 1:
            others = ", ".join(each.name for each in recipes[1:])
            self.choice.reporter.note(f"there is time to train candidates by other recipes, too: {others}")
        bins = fitting.bins(trials) if epochs else {}
        lanes = {Lane(number, recipe): place for number, place in bins.items() for recipe in recipes}
        return Bracket(bins=lanes, epochs=epochs)

    def _finds_rate(self, pace: TrainingPace | None) -> bool:
        """Whether nobody has said a learning rate, and there is time to try some."""
        task = self.choice.evaluator.task
        free = self.training.rate is None and task.optimizer is None and task.train is None
        return free and (pace is None or pace.rate < _RATE_OF_TIME * self.time.training.left)

    def fitting(self, training: TrainingOptions) -> TrainingOptions:
        """The training, with the schedule that fits into few epochs where there is no time for more."""
        try:
            phases_of(training, Plan(()), self.choice.evaluator.traced.groups)
        except TooShortError as error:
            self.choice.reporter.note(f"all is cut at once: {error}")
            return _at_once(training)
        return training

    def rated(self, candidates: Sequence[Trial], pace: TrainingPace | None) -> TrainingOptions:
        """How to train, at a rate that was tried on the candidate of middling cost where nobody has said one."""
        task = self.choice.evaluator.task
        if not candidates or not self._finds_rate(pace):
            return self.training
        by = next(iter(costs(self.choice.objectives)), self.choice.objectives[0])
        middle = sorted(candidates, key=lambda trial: trial.value(by.name))[len(candidates) // 2]

        def tried() -> float:
            with self.directory.stage("training"):
                cut, traced = self.choice.evaluator.cut(middle.plan), self.choice.evaluator.traced
                found = find_rate(
                    cut, task, options=self.training, seed=self.seed, reporter=self.choice.reporter, traced=traced
                )
            losses = {f"{rate:g}": round(loss, 6) for rate, loss in found.losses.items() if math.isfinite(loss)}
            self.directory.log("learning rate", rate=found.rate, losses=losses)
            best = "which does best in a few steps" if losses else "as training came to no number at any rate"
            self.choice.reporter.note(f"learning rate {found.rate:g}, {best} (--finetune-lr to choose)")
            return found.rate

        return replace(self.training, rate=self.study.rate(tried))


def _at_once(training: TrainingOptions) -> TrainingOptions:
    """The training of a model that is cut no more, on which no regularizer acts."""
    plain = replace(training, schedule=SCHEDULE, schedule_options={})
    return replace(plain, regularizer=REGULARIZER, regularizer_options={})
