"""Training the few: brackets of successive halving over what a search found. Knows what becomes of each candidate; not
what is measured or saved of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from autoprune.core import quantity
from autoprune.core.callbacks import Callbacks, EpochReport
from autoprune.core.measurement import Measurement
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.errors import DeviceError, TaskError
from autoprune.finetuning.teacher import trained, without_labels
from autoprune.finishing.asha import AshaRule
from autoprune.finishing.bracket_choice import BracketChoice
from autoprune.finishing.failures import Failures
from autoprune.finishing.halving import HalvingRule, rungs, spearman
from autoprune.finishing.lane import Lane
from autoprune.finishing.pacing import TrainingPace
from autoprune.finishing.selection import standing
from autoprune.finishing.successive_halving import FinetuneRun, SuccessiveHalving
from autoprune.finishing.tuner import EpochResult, Tuner
from autoprune.finishing.tuning_study import Bracket
from autoprune.searching.candidate import Evaluator
from autoprune.surgery.cut_model import CutModel

#: By what TrainingOptions call it.
_RULES: Final = {"halving": HalvingRule, "asha": AshaRule}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Trains the finalists of a search.

    Attributes:
        brackets: Who is trained, for how long, and at which rate.
        finetune: Trains runs, wherever.
        callbacks: Told of each epoch.
        failures: Of candidates that were trained.
    """

    brackets: BracketChoice
    finetune: Callable[[SuccessiveHalving, Tuner], None]
    callbacks: Callbacks
    failures: Failures = field(default_factory=Failures, init=False)

    def trained(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, CutModel | None]]:
        """The finalists and their models; None for one that stays as it was repaired, as training leaves less than that
        or there is none."""
        brackets, task, effort = self.brackets, self._evaluator.task, self.brackets.choice.effort
        if effort.epochs and (note := without_labels(task, brackets.training)):
            self._reporter.note(note)
        if not trained(task, brackets.training) or effort.epochs == 0:
            yield from ((trial, None) for trial in brackets.choice.finalists(trials))
            return
        asked = f"{len(trials)} trials, {effort.epochs} epochs, {effort.finalists} finalists" + brackets.training.told
        pace = brackets.pace(trials) if brackets.time.training.limited else None
        chosen = brackets.study.chosen(asked, lambda: brackets.round(trials, pace))
        if not chosen.epochs:
            self._reporter.note("no time to fine-tune: models stay as repaired")
            yield from ((trial, None) for trial in brackets.choice.finalists(trials))
            return
        by_number = {trial.number: trial for trial in trials}
        rated = brackets.rated(
            [by_number[number] for number in dict.fromkeys(lane.candidate for lane in chosen.bins)], pace
        )
        tuner = Tuner(self._evaluator, brackets.fitting(replace(rated, epochs=chosen.epochs)), brackets.seed)
        halving = self._halved(by_number, chosen, tuner, pace)
        self._correlations(halving)
        self._harm(halving, tuner.rate_told)
        yield from self._ended(halving, chosen.bins, tuner)

    def _halved(
        self, by_number: Mapping[int, Trial], chosen: Bracket, tuner: Tuner, pace: TrainingPace | None
    ) -> SuccessiveHalving:
        """Train the chosen candidates until each has its outcome."""
        quality = self._evaluator.task.quality
        rule = _RULES[self.brackets.training.trial_scheduler](chosen.epochs, chosen.bins)
        with self._reporter.track("fine-tuning", rule.most) as advance:

            def told(result: EpochResult) -> None:
                loss, scored = result.loss, result.scores.get(quality.name)
                known = {"training_loss": round(loss, 6)} if math.isfinite(loss) else {}
                values = {name: round(score.value, 6) for name, score in result.scores.items()}
                named = {"recipe": result.lane.variant.name} if result.lane.variant.name else {}
                own = {"trial": result.lane.candidate, **named, "epoch": result.done, **known}
                self.brackets.directory.log("epoch", **own | values | own)  # metrics may have any name
                text = f"loss {loss:.3f}"
                if scored is not None:
                    text = f"{quality.name} {quantity.show(scored.value, quality.unit)}"
                advance(f"{result.lane.told}, epoch {result.done}, {text}")
                self.callbacks.epoch(
                    EpochReport(
                        trial=result.lane.candidate,
                        plan=by_number[result.lane.candidate].plan,
                        recipe=result.lane.variant.name,
                        epoch=result.done,
                        epochs=rule.epochs,
                        loss=loss,
                        metrics=result.scores,
                    )
                )

            candidates = [by_number[lane.candidate] for lane in rule.members]
            halving = SuccessiveHalving(
                candidates,
                rule,
                quality=quality,
                study=self.brackets.study,
                file_of=lambda lane: self.brackets.directory.checkpoint(lane.name),
                told=told,
                worth=self._worth,
                late=lambda: pace is not None and self.brackets.time.training.left <= pace.epoch,
            )
            with self.brackets.directory.stage("training"):
                self.finetune(halving, tuner)
        if halving.open:
            raise RuntimeError(f"{len(halving.open)} candidates were left untrained")
        return halving

    def _ended(
        self, halving: SuccessiveHalving, bins: Mapping[Lane, int], tuner: Tuner
    ) -> Iterator[tuple[Trial, CutModel | None]]:
        """Of each bin the best as it was trained, or as it was repaired where none was."""
        left: dict[int, list[FinetuneRun]] = {}
        beaten: dict[int, list[FinetuneRun]] = {}
        trained: dict[int, FinetuneRun] = {}
        for lane, run in halving.runs.items():
            if run.outcome != "stopped":
                self.failures.add(run.error if run.outcome == "fail" else "")
            if run.outcome == "fail":
                left_as = f"epoch {run.done} left it" if _trained(run, tuner) else "repaired"
                self._reporter.warn(f"{lane.told} stays as {left_as}, as fine-tuning failed: {run.error}")
            if run.outcome in ("fail", "stopped"):
                left.setdefault(bins[lane], []).append(run)
            elif run.outcome == "complete":
                trained[bins[lane]] = run
                yield self._best_of(run, halving, tuner)
            else:
                beaten.setdefault(lane.candidate, []).append(run)
        for candidate, runs in beaten.items():
            known = [run for run in runs if run.scores and _trained(run, tuner)]
            if known and candidate not in {run.lane.candidate for run in trained.values()}:
                best = self._best(known)
                measured = {**best.trial.measurements, **best.scores}
                self.brackets.directory.record(replace(best.trial, measurements=measured), "contender")
        if stopped := {lane.candidate for lane, run in halving.runs.items() if run.outcome == "stopped"}:
            self._reporter.note(f"the time for fine-tuning was up: {len(stopped)} candidates are taken as they are")
        for place, alike in left.items():
            if place not in trained:
                best = self._best([self._scored(run, halving, tuner) for run in alike])
                yield self._best_of(best, halving, tuner) if best.scores else (best.trial, None)

    def _scored(self, run: FinetuneRun, halving: SuccessiveHalving, tuner: Tuner) -> FinetuneRun:
        """A run that was left on its way, with scores of its last epoch; with none where it is still a larger model, or
        nobody can tell them."""
        if not _trained(run, tuner):
            return replace(run, scores={})
        if run.scores:
            return run
        try:
            with self.brackets.directory.stage("training"):
                model = tuner.model(run.trial.plan, halving.state(run))
                return replace(run, scores=self._evaluator.scores(model, "search"))
        except (TaskError, DeviceError):
            return run

    def _best(self, runs: Sequence[FinetuneRun]) -> FinetuneRun:
        return max(runs, key=lambda run: self._worth(run.trial, self._reached(run)))

    def _worth(self, trial: Trial, value: float) -> tuple[float, ...]:
        """By what candidates are compared, given their quality by now."""
        quality, evaluator = self._evaluator.task.quality, self._evaluator
        return standing(
            trial,
            value,
            quality=quality,
            first=self.brackets.choice.objectives[0],
            budget=evaluator.budget,
            dense=evaluator.dense,
        )

    def _reached(self, run: FinetuneRun) -> float:
        """The quality of a candidate as it was scored last."""
        name = self._evaluator.task.quality.name
        return run.scores[name].value if run.scores else run.trial.value(name)

    def _best_of(self, run: FinetuneRun, halving: SuccessiveHalving, tuner: Tuner) -> tuple[Trial, CutModel | None]:
        if self._worse(run.scores, run.trial.measurements):
            return run.trial, None
        if recipe := run.lane.variant.name:
            self.brackets.directory.log("recipe", trial=run.trial.number, recipe=recipe)
        model = tuner.model(run.trial.plan, halving.state(run))
        return replace(run.trial, measurements={**run.trial.measurements, **run.scores}), model

    def _harm(self, halving: SuccessiveHalving, rate: str) -> None:
        """Say so where training did harm."""
        ended = [run for run in halving.runs.values() if run.outcome == "complete"]
        worse = sum(self._worse(run.scores, run.trial.measurements) for run in ended)
        if worse:
            self._reporter.note(
                f"training made {worse} of {len(ended)} models worse, which stay as repaired: more epochs or a lower "
                f"learning rate may help (--finetune-lr, here {rate})"
            )

    def _worse(self, tuned: Mapping[str, Measurement], repaired: Mapping[str, Measurement]) -> bool:
        quality = self._evaluator.task.quality
        change = tuned[quality.name].value - repaired[quality.name].value
        return change > 0 if quality.lower_is_better else change < 0

    def _correlations(self, halving: SuccessiveHalving) -> None:
        """Say how well each rung foretells the next: what stopping early rests on."""
        quality = self._evaluator.task.quality
        earlier = {number: run.trial.value(quality.name) for number, run in halving.runs.items()}
        name = "repaired"
        for rung in rungs(halving.epochs):
            now = halving.values.get(rung, {})
            both = sorted(earlier.keys() & now.keys())
            found = spearman([earlier[each] for each in both], [now[each] for each in both])
            if len(both) > 2 and math.isfinite(found):
                told = {"first": name, "then": f"epoch {rung}", "spearman": round(found, 3), "candidates": len(both)}
                self.brackets.directory.log("rank correlation", **told)
            earlier, name = now, f"epoch {rung}"

    @property
    def _evaluator(self) -> Evaluator:
        return self.brackets.choice.evaluator

    @property
    def _reporter(self) -> Reporter:
        return self.brackets.choice.reporter


def _trained(run: FinetuneRun, tuner: Tuner) -> bool:
    """Whether what its epochs left is a model of the candidate's plan."""
    return run.done > 0 and tuner.reached(run.trial.plan, run.done)
