"""Finishing the few: fine-tune, measure again, validate, choose, and report once. Knows the order and the splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from autoprune.core.effort import Effort
from autoprune.core.front import Front, layers
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.reporter import Advance, Reporter
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import DeviceError, describe
from autoprune.measure.device import PROCESSES
from autoprune.models.folder import PrunedModel, write
from autoprune.models.weights import forms, to_bytes
from autoprune.recovery.finetune import finetune, teacher_of
from autoprune.searching.candidate import Evaluator, excesses

#: So many times more candidates than are finished get one epoch each.
CONTENDERS: Final = 3


@dataclass(frozen=True)
class Finalised:
    """The end of a search.

    front: finished trials that no other finished one beats, scored on the validation split; dense: the same of the
    dense model; test: scores on the test split, of "dense" and of "best" where there is a best.
    """

    front: Front
    dense: Mapping[str, Measurement]
    test: Mapping[str, Mapping[str, Measurement]]


def evenly(trials: Sequence[Trial], objectives: Sequence[Metric], count: int) -> list[Trial]:
    """At most `count` trials: their front, evenly over its length, a short one filled up from the layers behind it."""
    front = list(Front.of(trials, objectives).trials)
    if len(front) > count:
        if count == 1:
            return front[-1:]
        steps = {round(place * (len(front) - 1) / (count - 1)) for place in range(count)}
        return [front[place] for place in sorted(steps)]
    taken = {trial.number for trial in front}
    for layer in layers([trial for trial in trials if trial.number not in taken], objectives):
        front.extend(layer)
    return front[:count]


@dataclass(frozen=True)
class Finisher:
    """Takes the trials of a search to its end.

    evaluator: with the whole budget, qualities too; folder_of: where the model of a trial goes; record(trial, stage):
    called with each trial of the stages "contender" and "final".
    """

    evaluator: Evaluator
    objectives: Sequence[Metric]
    effort: Effort
    seed: int
    folder_of: Callable[[int], Path]
    record: Callable[[Trial, str], None]
    reporter: Reporter

    def finish(self, trials: Iterable[Trial]) -> Finalised:
        """Choose contenders, fine-tune the best of them, save, measure again in fresh processes, validate, report."""
        task = self.evaluator.task
        teacher = teacher_of(task) if self.effort.epochs else None
        chosen = self._chosen(list(trials), teacher)
        models: dict[int, nn.Module] = {}
        scored: list[Trial] = []
        with self.reporter.track("fine-tuning", max(self.effort.epochs, 1) * len(chosen)) as advance:
            for trial in chosen:
                tuned = self._tuned(trial, teacher, self.effort.epochs, "validation", advance)
                if tuned is not None:
                    scored.append(tuned[0])
                    models[trial.number] = tuned[1]
                    save(trial, tuned[1], self.evaluator, self.folder_of(trial.number))
        timed = self._measured_again(scored, models) if scored else {}
        dense = {
            **self.evaluator.dense,
            **self.evaluator.device.session.reference(),
            **task.score(task.model, "validation"),
        }
        finished = []
        for trial in (trial for trial in scored if trial.number in timed):
            measured = {**trial.measurements, **timed[trial.number]}
            broken = excesses(self.evaluator.budget, measured, dense)
            finished.append(replace(trial, measurements=measured, excesses=broken))
            self.record(finished[-1], "final")
        front = Front.of(finished, self.objectives)
        test = {"dense": task.score(task.model, "test")}
        if front.best is not None:
            test["best"] = task.score(models[front.best.number], "test")
        return Finalised(front, dense, test)

    def _tuned(
        self, trial: Trial, teacher: nn.Module | None, epochs: int, split: str, advance: Advance
    ) -> tuple[Trial, nn.Module] | None:
        """The trial with its scores after fine-tuning, and its model; None, with a warning, where that fails.

        Where training leaves less than healing gave on the search split, the healed model is taken.
        """
        try:
            model = self.evaluator.cut(trial.plan)
            healed = self.evaluator.task.score(model, "search")  # the trial's own may be that of a contender
            masks = self.evaluator.masks(trial.plan)
            finetune(model, self.evaluator.task, teacher, epochs, self.seed, advance, masks)
            scores = self.evaluator.task.score(model, "search")
            if self._worse(scores, healed):
                model, scores = self.evaluator.cut(trial.plan), healed
            if split != "search":
                scores = self.evaluator.task.score(model, split)
        except Exception as error:
            failed = replace(trial, state=TrialState.FAILED, error=describe(error))
            self.record(failed, "contender" if split == "search" else "final")
            self.reporter.warn(f"fine-tuning of trial {trial.number} failed: {failed.error}")
            return None
        return replace(trial, measurements={**trial.measurements, **scores}), model

    def _worse(self, tuned: Mapping[str, Measurement], healed: Mapping[str, Measurement]) -> bool:
        quality = self.evaluator.task.quality
        change = tuned[quality.name].value - healed[quality.name].value
        return change > 0 if quality.lower_is_better else change < 0

    def _chosen(self, trials: Sequence[Trial], teacher: nn.Module | None) -> list[Trial]:
        """The finalists: from within the budget, and a third from the front beyond it; where nothing is within, all.

        Those beyond show what a larger budget would buy. The dense model is a trial too, but no result beyond a budget.
        """
        within = [trial for trial in trials if trial.feasible]
        front = Front.of(trials, self.objectives).trials
        outside = [trial for trial in front if not trial.feasible and not self.evaluator.whole(trial.plan)]
        count = self.effort.finalists
        beyond = evenly(outside, self.objectives, count // 3 if within else count)
        return [*self._contest(within, count - len(beyond), teacher), *beyond]

    def _contest(self, trials: Sequence[Trial], count: int, teacher: nn.Module | None) -> list[Trial]:
        """The best `count` of more contenders, each scored again after one epoch of fine-tuning.

        Far from the dense model, what a candidate scores before any training says little about what it will score
        after it; one epoch tells most.
        """
        task = self.evaluator.task
        contenders = evenly(trials, self.objectives, CONTENDERS * count)
        if task.loss is None or self.effort.epochs <= 1 or len(contenders) <= count:
            return evenly(trials, self.objectives, count)
        scored = []
        with self.reporter.track("contenders", len(contenders)) as advance:
            for trial in contenders:
                tuned = self._tuned(trial, teacher, 1, "search", advance)
                if tuned is not None:
                    scored.append(tuned[0])
                    self.record(tuned[0], "contender")
        return evenly(scored, self.objectives, count)

    def _measured_again(
        self, chosen: Sequence[Trial], models: Mapping[int, nn.Module]
    ) -> dict[int, dict[str, Measurement]]:
        device = self.evaluator.device
        cut = [(models[trial.number], self.evaluator.slices(trial.plan)) for trial in chosen]
        try:
            with self.reporter.track("measuring in fresh processes", PROCESSES) as advance:
                found = device.measure_again(cut, advance)
        except DeviceError as error:
            self.reporter.warn(f"models are measured again beside the search, as fresh processes failed: {error}")
            return self._measured_here(chosen, cut)
        return dict(zip([trial.number for trial in chosen], found, strict=True))

    def _measured_here(
        self, chosen: Sequence[Trial], cut: Sequence[tuple[nn.Module, Mapping[str, Tensor]]]
    ) -> dict[int, dict[str, Measurement]]:
        """Each by itself; what cannot be measured is left out, with a warning."""
        found = {}
        for trial, (model, slices) in zip(chosen, cut, strict=True):
            try:
                found[trial.number] = self.evaluator.device.measure(model, slices, {})
            except DeviceError as error:
                self.record(replace(trial, state=TrialState.FAILED, error=str(error)), "final")
                self.reporter.warn(f"trial {trial.number} cannot be measured again: {error}")
        return found


def save(trial: Trial, model: nn.Module, evaluator: Evaluator, folder: Path) -> None:
    """Write the folder of one model."""
    slices = evaluator.slices(trial.plan)
    record = PrunedModel(
        trial.number, evaluator.task.spec, trial.plan, {name: tuple(kept.tolist()) for name, kept in slices.items()}
    )
    write(folder, record, to_bytes(model), card(trial, evaluator.task.name, folder, forms(model)))


def card(trial: Trial, task: str, folder: Path, packed: Mapping[str, int]) -> str:
    """What the folder's README says. packed: how many weights are stored in each form that is not dense."""
    zeros = "".join(f"\n- {count} weights with zeros are stored as {form}" for form, count in sorted(packed.items()))
    rows = "\n".join(f"- `{group}`: {kept}" for group, kept in trial.plan.keep)
    return (
        f"# Trial {trial.number} of a search on `{task}`\n\n"
        f'```python\nimport autoprune\n\nmodel = autoprune.load("{folder}")\n```\n\n'
        f"Slices kept of each group (`plan.json` has their indices, `model.safetensors` the weights):\n\n"
        f"{rows}{zeros}\n"
    )
