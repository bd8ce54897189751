"""Finishing the few: fine-tune, measure again, validate, choose, and report once. Knows the order and the splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from autoprune.core.effort import Effort
from autoprune.core.front import Front, layers
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.measure import fresh
from autoprune.measure.counts import counts
from autoprune.models.folder import PrunedModel, write
from autoprune.models.weights import to_bytes
from autoprune.recovery.finetune import finetune
from autoprune.search.candidate import Evaluator, excesses
from autoprune.surgery import kept_slices


@dataclass(frozen=True)
class Finalised:
    """The end of a search.

    front: finished trials, scored on the validation split; dense: the same of the dense model; test: scores on the
    test split, of "dense" and of "best" where there is a best.
    """

    front: Front
    dense: Mapping[str, Measurement]
    test: Mapping[str, Mapping[str, Measurement]]


def finalists(trials: Iterable[Trial], objectives: Sequence[Metric], count: int) -> list[Trial]:
    """The front's trials, spread evenly over its length; a short front is filled up from the layers behind it."""
    complete = Front.of(trials, objectives)
    front = list(complete.trials)
    if len(front) > count:
        steps = {round(place * (len(front) - 1) / max(count - 1, 1)) for place in range(count)}
        return [front[place] for place in sorted(steps)]
    feasible = [trial for trial in trials if trial.feasible]
    for layer in layers([trial for trial in feasible if trial not in front], objectives):
        front.extend(layer)
    return front[:count]


def finalise(
    chosen: Sequence[Trial],
    evaluator: Evaluator,
    objectives: Sequence[Metric],
    effort: Effort,
    folder_of: Callable[[int], Path],
    seed: int,
    reporter: Reporter,
) -> Finalised:
    """Fine-tune each chosen trial, save it, measure all of them again in fresh processes, and validate them."""
    task = evaluator.task
    models: dict[int, nn.Module] = {}
    with reporter.track("fine-tuning", max(effort.epochs, 1) * len(chosen)) as advance:
        for trial in chosen:
            model = models[trial.number] = evaluator.cut(trial.plan)
            finetune(model, task, effort.epochs, seed, advance)
            save(trial, model, evaluator, folder_of(trial.number))
    timed = _measured_again(chosen, models, evaluator, folder_of, seed, reporter)
    dense = {**evaluator.dense, **evaluator.session.reference(), **task.score(task.model, "validation")}
    finished = []
    for trial in chosen:
        model = models[trial.number]
        measured = {**task.score(model, "validation"), **timed[trial.number], **counts(model, evaluator.inputs)}
        finished.append(replace(trial, measurements=measured, excesses=excesses(evaluator.budget, measured, dense)))
    front = Front.of(finished, objectives)
    test = {"dense": task.score(task.model, "test")}
    if front.best is not None:
        test["best"] = task.score(models[front.best.number], "test")
    return Finalised(front, dense, test)


def save(trial: Trial, model: nn.Module, evaluator: Evaluator, folder: Path) -> None:
    """Write the folder of one model."""
    slices = kept_slices(evaluator.traced, evaluator.ranking, trial.plan)
    record = PrunedModel(
        trial.number, evaluator.task.spec, trial.plan, {name: tuple(kept.tolist()) for name, kept in slices.items()}
    )
    write(folder, record, to_bytes(model), card(trial, evaluator.task.name, folder))


def card(trial: Trial, task: str, folder: Path) -> str:
    """What the folder's README says."""
    rows = "\n".join(f"- `{group}`: {kept}" for group, kept in trial.plan.keep)
    return (
        f"# Trial {trial.number} of a search on `{task}`\n\n"
        f'```python\nimport autoprune\n\nmodel = autoprune.load("{folder}")\n```\n\n'
        f"Slices kept of each group (`plan.json` has their indices, `model.safetensors` the weights):\n\n{rows}\n"
    )


def _measured_again(
    chosen: Sequence[Trial],
    models: Mapping[int, nn.Module],
    evaluator: Evaluator,
    folder_of: Callable[[int], Path],
    seed: int,
    reporter: Reporter,
) -> dict[int, dict[str, Measurement]]:
    session, task = evaluator.session, evaluator.task
    if not task.spec:
        reporter.warn(
            "the task has no name that another process could find it by: models are measured again in this process"
        )
        return {trial.number: session.measure(models[trial.number], {}) for trial in chosen}
    with reporter.track("measuring in fresh processes", fresh.PROCESSES) as advance:
        folders = [folder_of(trial.number) for trial in chosen]
        rounds = fresh.pairs_of(folders, task.spec, session.profiler.name, session.spec, seed, advance)
    return {trial.number: session.join(pairs) for trial, pairs in zip(chosen, rounds, strict=True)}
