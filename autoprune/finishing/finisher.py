"""Finishing the few: fine-tune, measure again, validate, choose, and report once. Knows the order and the splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import length_hint
from typing import Final

from autoprune.core import quantity
from autoprune.core.callbacks import Callbacks, EpochReport
from autoprune.core.effort import Effort
from autoprune.core.front import Front
from autoprune.core.judgement import judged
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, costs
from autoprune.core.plan import Plan
from autoprune.core.preference import Preference
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import DeviceError, DeviceLostError, TaskError, UnreachableError, describe
from autoprune.finetuning.rate import find_rate
from autoprune.finishing.choice import Choice
from autoprune.finishing.failures import Failures
from autoprune.finishing.halving import rungs, spearman
from autoprune.finishing.pacing import TELLING, FinishingTime, TrainingPace
from autoprune.finishing.saving import save, save_file
from autoprune.finishing.selection import standing
from autoprune.finishing.successive_halving import FinetuneRun, SuccessiveHalving
from autoprune.finishing.tuner import EpochJob, EpochResult, Tuner
from autoprune.finishing.tuning_study import Round, TuningStudy
from autoprune.measure.certificate import PROCESSES
from autoprune.options.defaults import REGULARIZER, SCHEDULE
from autoprune.options.training_options import TrainingOptions
from autoprune.searching.candidate import Evaluator
from autoprune.store.run import RunDirectory
from autoprune.surgery.cut_model import CutModel
from autoprune.training.schedules import TooShortError, phases_of

#: Of the time for fine-tuning, what finding its learning rate may take.
_RATE_OF_TIME: Final = 1 / 4


@dataclass(frozen=True)
class FinishedSearch:
    """The end of a search.

    front: finished trials that no other finished one beats, scored on the validation split; dense: the same of the
    dense model; test: scores on the test split, of "dense" and of "best" where there is a best; untrained: why, where
    every candidate's fine-tuning failed; unfinished: why, where no model could be finished.
    """

    front: Front
    dense: Mapping[str, Measurement]
    test: Mapping[str, Mapping[str, Measurement]]
    untrained: str = ""
    unfinished: str = ""


@dataclass(frozen=True, kw_only=True)
class Finisher:
    """Takes the trials of a search to its end.

    Attributes:
        evaluator: With the whole budget, qualities too.
        objectives: What is traded off.
        preference: Which of those within the budget is the best.
        effort: What may be spent.
        training: How models are fine-tuned.
        seed: Of training.
        finetune: Trains runs, wherever.
        tuning: The study of fine-tuning.
        directory: Of the run.
        reporter: Told what users should know.
        time: What all of it may take.
        callbacks: Told of each epoch.
    """

    evaluator: Evaluator
    objectives: Sequence[Metric]
    preference: Preference
    effort: Effort
    training: TrainingOptions
    seed: int
    finetune: Callable[[SuccessiveHalving, Tuner], None]
    tuning: TuningStudy
    directory: RunDirectory
    reporter: Reporter
    time: FinishingTime
    callbacks: Callbacks
    training_failures: Failures = field(default_factory=Failures, init=False)

    def finish(self, trials: Sequence[Trial]) -> FinishedSearch:
        """Choose candidates, fine-tune the best of them, save, measure again in fresh processes, validate, report."""
        task = self.evaluator.task
        models: dict[int, CutModel] = {}
        scored: list[Trial] = []
        failures = Failures()
        for trial, cut in self._trained(trials):
            try:
                scores = task.score(cut.model, "validation")
            except TaskError as error:
                self._failed(trial, str(error))
                failures.add(str(error))
                continue
            failures.add("")
            scored.append(replace(trial, measurements={**trial.measurements, **scores}))
            models[trial.number] = cut
        timed = self._measured_again(scored, models) if scored else {}
        known = self.evaluator.device.reference() if self.evaluator.timed else {}
        dense = {**self.evaluator.dense, **known, **task.score(task.model, "validation")}
        finished = []
        for trial in (trial for trial in scored if trial.number in timed):
            again = replace(trial, measurements={**trial.measurements, **timed[trial.number]})
            finished.append(judged(again, self.evaluator.budget, dense))
            self.directory.record(finished[-1], "final")
        front = Front.of(finished, self.objectives, self.preference.chooser(self.objectives, dense))
        test = {"dense": task.score(task.model, "test")}
        if front.best is not None:
            test["best"] = task.score(models[front.best.number].model, "test")
        for trial in finished:  # at last: until here the models of an earlier end stand as its front says
            self._save(trial, models[trial.number])
        return FinishedSearch(front, dense, test, self.training_failures.all, failures.all)

    def _save(self, trial: Trial, cut: CutModel) -> None:
        task, device, folder = self.evaluator.task, self.evaluator.device, self.directory.model(trial.number)
        save(trial, cut, task, self.evaluator.traced, folder)
        if not self.evaluator.timed:
            return
        try:
            save_file(trial, cut, task, device, folder)
        except DeviceError as error:
            self.reporter.warn(f"trial {trial.number} has no file beside its weights: {error}")

    def _trained(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, CutModel]]:
        """The finalists and their models: fine-tuned, or as they were repaired where training leaves less than that."""
        task, wanted = self.evaluator.task, self.effort.epochs
        if not task.trains and wanted:
            self.reporter.note(f"the task '{task.name}' has no loss: models stay as repaired, none is fine-tuned")
        if not task.trains or wanted == 0:
            yield from self._untrained(trials)
            return
        asked = f"{len(trials)} trials, {wanted} epochs, {self.effort.finalists} finalists" + self.training.told
        pace = self._pace(trials) if self.time.training.limited else None
        chosen = self.tuning.chosen(asked, lambda: self._round(trials, pace))
        if not chosen.epochs:
            self.reporter.note("no time to fine-tune: models stay as repaired")
            yield from self._untrained(trials)
            return
        by_number = {trial.number: trial for trial in trials}
        rated = self._rated([by_number[number] for number in chosen.bins], pace)
        tuner = Tuner(self.evaluator, self._fitting(replace(rated, epochs=chosen.epochs)), self.seed)
        halving = self._halved(by_number, chosen, tuner, pace)
        self._correlations(halving)
        self._harm(halving, tuner.rate_told)
        yield from self._ended(halving, chosen.bins, tuner)

    def _halved(
        self, by_number: Mapping[int, Trial], chosen: Round, tuner: Tuner, pace: TrainingPace | None
    ) -> SuccessiveHalving:
        """Train the chosen candidates until each has its outcome."""
        bins, epochs, quality = chosen.bins, chosen.epochs, self.evaluator.task.quality
        first = rungs(epochs)[0]
        most = len(bins) * first + len(set(bins.values())) * (epochs - first)
        with self.reporter.track("fine-tuning", most) as advance:

            def told(result: EpochResult) -> None:
                loss, scored = result.loss, result.scores.get(quality.name)
                known = {"training_loss": round(loss, 6)} if math.isfinite(loss) else {}
                values = {name: round(score.value, 6) for name, score in result.scores.items()}
                own = {"trial": result.number, "epoch": result.done, **known}
                self.directory.log("epoch", **own | values | own)  # metrics may have any name
                text = f"loss {loss:.3f}"
                if scored is not None:
                    text = f"{quality.name} {quantity.show(scored.value, quality.unit)}"
                advance(f"trial {result.number}, epoch {result.done}, {text}")
                self.callbacks.epoch(
                    EpochReport(
                        trial=result.number,
                        plan=by_number[result.number].plan,
                        epoch=result.done,
                        epochs=epochs,
                        loss=loss,
                        metrics=result.scores,
                    )
                )

            candidates = [by_number[number] for number in bins]
            halving = SuccessiveHalving(
                candidates,
                bins,
                epochs,
                quality=quality,
                study=self.tuning,
                file_of=self.directory.checkpoint,
                told=told,
                worth=self._worth,
                late=lambda: pace is not None and self.time.training.left <= pace.epoch,
            )
            with self.directory.stage("training"):
                self.finetune(halving, tuner)
        if halving.open:
            raise RuntimeError(f"{len(halving.open)} candidates were left untrained")
        return halving

    def _ended(
        self, halving: SuccessiveHalving, bins: Mapping[int, int], tuner: Tuner
    ) -> Iterator[tuple[Trial, CutModel]]:
        """Of each bin the best as it was trained, or as it was repaired where none was."""
        left: dict[int, list[FinetuneRun]] = {}
        for number, run in halving.runs.items():
            if run.outcome != "stopped":
                self.training_failures.add(run.error if run.outcome == "fail" else "")
            if run.outcome == "fail":
                self.reporter.warn(f"trial {number} stays as repaired, as fine-tuning failed: {run.error}")
            if run.outcome in ("fail", "stopped"):
                left.setdefault(bins[number], []).append(run)
            elif run.outcome == "complete":
                yield from self._best_of(run, halving, tuner)
            else:
                measured = {**run.trial.measurements, **run.scores}
                self.directory.record(replace(run.trial, measurements=measured), "contender")
        if stopped := sum(run.outcome == "stopped" for run in halving.runs.values()):
            self.reporter.note(f"the time for fine-tuning was up: {stopped} candidates are taken as they are")
        trained = {bins[number] for number, run in halving.runs.items() if run.outcome == "complete"}
        for place, alike in left.items():
            if place not in trained:
                best = max(alike, key=lambda run: self._worth(run.trial, self._reached(run)))
                yield from self._best_of(best, halving, tuner) if best.scores else self._cut(best.trial)

    @property
    def _choice(self) -> Choice:
        return Choice(evaluator=self.evaluator, objectives=self.objectives, effort=self.effort, reporter=self.reporter)

    def _untrained(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, CutModel]]:
        """The finalists as they were repaired."""
        for trial in self._choice.finalists(trials):
            yield from self._cut(trial)

    def _pace(self, trials: Sequence[Trial]) -> TrainingPace | None:
        """How long fine-tuning takes, as the largest candidate tells; None where there is none."""
        candidates = [trial for side in self._choice.sides(trials) for trial in side]
        if not candidates:
            return None
        task, by = self.evaluator.task, next(iter(costs(self.objectives)), self.objectives[0])
        part = replace(self.evaluator, task=task.with_split("train", list(islice(task.split("train"), 1))))
        epochs = max(self.effort.epochs, TELLING)
        largest = max(candidates, key=lambda trial: (trial.value(by.name), trial.number))
        # The first phase has the largest model; that it is cut again later is no part of an epoch.
        fitting = self._fitting(replace(self.training, epochs=epochs, patience=0))  # scores are timed already
        first = phases_of(fitting, largest.plan, part.traced.groups)[0].plan
        tuner = Tuner(part, replace(fitting, schedule=SCHEDULE, schedule_options={}), self.seed)
        batches = self.training.steps or max(length_hint(task.split("train")), 1)
        batches = batches if task.train is None else 1  # that trains on all that it has in any case
        pace = TrainingPace.of(tuner, EpochJob(largest.number, first, 0), batches, self.time, part.clock)
        return replace(pace, epoch=pace.epoch + pace.score) if self.training.patience else pace

    def _round(self, trials: Sequence[Trial], pace: TrainingPace | None) -> Round:
        """Candidates for fine-tuning and its length, as far as there is time."""
        epochs, finalists = self.effort.epochs, self.effort.finalists
        if pace is not None:
            seconds = self.time.training.left - (pace.rate if self._finds_rate(pace) else 0.0)
            epochs, finalists = pace.affordable(epochs, finalists, self.time.workers * seconds)
        if epochs and (epochs, finalists) != (self.effort.epochs, self.effort.finalists):
            self.reporter.note(f"there is time for {epochs} epochs of {finalists} finalists")
        fitting = replace(self._choice, effort=replace(self.effort, epochs=epochs, finalists=finalists))
        return Round(bins=fitting.bins(trials) if epochs else {}, epochs=epochs)

    def _worth(self, trial: Trial, value: float) -> tuple[float, ...]:
        """By what candidates are compared, given their quality by now."""
        quality, evaluator = self.evaluator.task.quality, self.evaluator
        return standing(trial, value, quality, self.objectives[0], evaluator.budget, evaluator.dense)

    def _reached(self, run: FinetuneRun) -> float:
        """The quality of a candidate as it was scored last."""
        name = self.evaluator.task.quality.name
        return run.scores[name].value if run.scores else run.trial.value(name)

    def _finds_rate(self, pace: TrainingPace | None) -> bool:
        """Whether nobody has said a learning rate, and there is time to try some."""
        task = self.evaluator.task
        free = self.training.rate is None and task.optimizer is None and task.train is None
        return free and (pace is None or pace.rate < _RATE_OF_TIME * self.time.training.left)

    def _fitting(self, training: TrainingOptions) -> TrainingOptions:
        """The training, with the schedule that fits into few epochs where there is no time for more."""
        try:
            phases_of(training, Plan(()), self.evaluator.traced.groups)
        except TooShortError as error:
            self.reporter.note(f"all is cut at once: {error}")
            plain = replace(training, schedule=SCHEDULE, schedule_options={})
            return replace(plain, regularizer=REGULARIZER, regularizer_options={})
        return training

    def _rated(self, candidates: Sequence[Trial], pace: TrainingPace | None) -> TrainingOptions:
        """How to train, at a rate that was tried on the candidate of middling cost where nobody has said one."""
        task = self.evaluator.task
        if not candidates or not self._finds_rate(pace):
            return self.training
        by = next(iter(costs(self.objectives)), self.objectives[0])
        middle = sorted(candidates, key=lambda trial: trial.value(by.name))[len(candidates) // 2]

        def tried() -> float:
            with self.directory.stage("training"):
                cut, traced = self.evaluator.cut(middle.plan), self.evaluator.traced
                found = find_rate(cut, task, self.training, self.seed, self.reporter, traced)
            losses = {f"{rate:g}": round(loss, 6) for rate, loss in found.losses.items() if math.isfinite(loss)}
            self.directory.log("learning rate", rate=found.rate, losses=losses)
            best = "which does best in a few steps" if losses else "as training came to no number at any rate"
            self.reporter.note(f"learning rate {found.rate:g}, {best} (--finetune-lr to choose)")
            return found.rate

        return replace(self.training, rate=self.tuning.rate(tried))

    def _best_of(self, run: FinetuneRun, halving: SuccessiveHalving, tuner: Tuner) -> Iterator[tuple[Trial, CutModel]]:
        if self._worse(run.scores, run.trial.measurements):
            yield from self._cut(run.trial)
        else:
            model = tuner.model(run.trial.plan, halving.state(run))
            yield replace(run.trial, measurements={**run.trial.measurements, **run.scores}), model

    def _cut(self, trial: Trial) -> Iterator[tuple[Trial, CutModel]]:
        try:
            yield trial, self.evaluator.cut(trial.plan)
        except Exception as error:
            self._failed(trial, describe(error))

    def _failed(self, trial: Trial, reason: str) -> None:
        self.directory.record(replace(trial, state=TrialState.FAILED, error=reason), "final")
        self.reporter.warn(f"trial {trial.number} could not be finished: {reason}")

    def _harm(self, halving: SuccessiveHalving, rate: str) -> None:
        """Say so where training did harm."""
        ended = [run for run in halving.runs.values() if run.outcome == "complete"]
        worse = sum(self._worse(run.scores, run.trial.measurements) for run in ended)
        if worse:
            self.reporter.note(
                f"training made {worse} of {len(ended)} models worse, which stay as repaired: more epochs or a lower "
                f"learning rate may help (--finetune-lr, here {rate})"
            )

    def _worse(self, tuned: Mapping[str, Measurement], repaired: Mapping[str, Measurement]) -> bool:
        quality = self.evaluator.task.quality
        change = tuned[quality.name].value - repaired[quality.name].value
        return change > 0 if quality.lower_is_better else change < 0

    def _correlations(self, halving: SuccessiveHalving) -> None:
        """Say how well each rung foretells the next: what stopping early rests on."""
        quality = self.evaluator.task.quality
        earlier = {number: run.trial.value(quality.name) for number, run in halving.runs.items()}
        name = "repaired"
        for rung in rungs(halving.epochs):
            now = halving.values.get(rung, {})
            both = sorted(earlier.keys() & now.keys())
            found = spearman([earlier[each] for each in both], [now[each] for each in both])
            if len(both) > 2 and math.isfinite(found):
                told = {"first": name, "then": f"epoch {rung}", "spearman": round(found, 3), "candidates": len(both)}
                self.directory.log("rank correlation", **told)
            earlier, name = now, f"epoch {rung}"

    def _measured_again(
        self, chosen: Sequence[Trial], models: Mapping[int, CutModel]
    ) -> dict[int, dict[str, Measurement]]:
        if not self.evaluator.timed:
            return {trial.number: {} for trial in chosen}
        device = self.evaluator.device
        cut = [models[trial.number] for trial in chosen]
        if self.time.measuring.left < PROCESSES * self.time.opening:
            self.reporter.warn("models are measured again beside the search, as there is no time for fresh processes")
            return self._measured_here(chosen, cut)
        try:
            with self.reporter.track("measuring in fresh processes", PROCESSES) as advance:
                found = device.measure_again(cut, advance)
        except (DeviceLostError, UnreachableError):  # no fault of the models: they wait for the device
            raise
        except DeviceError as error:
            self.reporter.warn(f"models are measured again beside the search, as fresh processes failed: {error}")
            return self._measured_here(chosen, cut)
        return dict(zip([trial.number for trial in chosen], found, strict=True))

    def _measured_here(self, chosen: Sequence[Trial], cut: Sequence[CutModel]) -> dict[int, dict[str, Measurement]]:
        """Each by itself; what cannot be measured is left out, with a warning, unless that is all."""
        found: dict[int, dict[str, Measurement]] = {}
        reason: DeviceError | None = None
        for trial, each in zip(chosen, cut, strict=True):
            try:
                found[trial.number] = self.evaluator.device.measure(each, {})
            except (DeviceLostError, UnreachableError):
                raise
            except DeviceError as error:
                reason = error
                self.directory.record(replace(trial, state=TrialState.FAILED, error=str(error)), "final")
                self.reporter.warn(f"trial {trial.number} cannot be measured again: {error}")
        if reason is not None and not found:
            raise reason
        return found
