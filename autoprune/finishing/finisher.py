"""Finishing the few: fine-tune, measure again, validate, choose, and report once. Knows the order and the splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autoprune.core.front import Front
from autoprune.core.judgement import judged
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.preference import Preference
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import DeviceError, DeviceLostError, TaskError, UnreachableError, describe
from autoprune.finishing.failures import Failures
from autoprune.finishing.pacing import FinishingTime
from autoprune.finishing.saving import save, save_file
from autoprune.finishing.tuning import Tuning
from autoprune.measure.certificate import PROCESSES
from autoprune.searching.candidate import Evaluator
from autoprune.store.run import RunDirectory
from autoprune.surgery.cut_model import CutModel


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
        tuning: Trains the finalists.
        directory: Of the run.
        reporter: Told what users should know.
        time: What all of it may take.
    """

    evaluator: Evaluator
    objectives: Sequence[Metric]
    preference: Preference
    tuning: Tuning
    directory: RunDirectory
    reporter: Reporter
    time: FinishingTime

    def finish(self, trials: Sequence[Trial]) -> FinishedSearch:
        """Choose candidates, fine-tune the best of them, save, measure again in fresh processes, validate, report."""
        task = self.evaluator.task
        models: dict[int, CutModel] = {}
        scored: list[Trial] = []
        failures = Failures()
        for trial, trained in self.tuning.trained(trials):
            try:
                cut = trained or self.evaluator.cut(trial.plan)
            except Exception as error:
                self._failed(trial, describe(error))
                continue
            try:
                scores = self.evaluator.scores(cut, "validation")
            except (TaskError, DeviceError) as error:
                self._failed(trial, str(error))
                failures.add(str(error))
                continue
            failures.add("")
            scored.append(replace(trial, measurements={**trial.measurements, **scores}))
            models[trial.number] = cut
        timed = self._measured_again(scored, models) if scored else {}
        known = self.evaluator.device.reference() if self.evaluator.timed else {}
        whole = CutModel(task.model)
        dense = {**self.evaluator.dense, **known, **self.evaluator.scores(whole, "validation")}
        finished = []
        for trial in (trial for trial in scored if trial.number in timed):
            again = replace(trial, measurements={**trial.measurements, **timed[trial.number]})
            finished.append(judged(again, self.evaluator.budget, dense))
            self.directory.record(finished[-1], "final")
        front = Front.of(finished, self.objectives, self.preference.chooser(self.objectives, dense))
        test = {"dense": self.evaluator.scores(whole, "test")}
        if front.best is not None:
            test["best"] = self.evaluator.scores(models[front.best.number], "test")
        for trial in finished:  # at last: until here the models of an earlier end stand as its front says
            self._save(trial, models[trial.number])
        return FinishedSearch(front, dense, test, self.tuning.failures.all, failures.all)

    def _save(self, trial: Trial, cut: CutModel) -> None:
        task, device, folder = self.evaluator.task, self.evaluator.device, self.directory.model(trial.number)
        save(trial, cut, task, self.evaluator.traced, folder)
        if not self.evaluator.timed:
            return
        try:
            save_file(trial, cut, task, device, folder)
        except DeviceError as error:
            self.reporter.warn(f"trial {trial.number} has no file beside its weights: {error}")

    def _failed(self, trial: Trial, reason: str) -> None:
        self.directory.record(replace(trial, state=TrialState.FAILED, error=reason), "final")
        self.reporter.warn(f"trial {trial.number} could not be finished: {reason}")

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
