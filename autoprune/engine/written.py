"""The end of a search as files: front.json, its picture, a line in the log, cards, a page to look at. Knows what a
result is made of; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.core.budget import Budget
from autoprune.core.metric import Metric
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial
from autoprune.engine.result import Point, Result
from autoprune.errors import describe
from autoprune.finishing.finisher import FinishedSearch
from autoprune.models.folder import README
from autoprune.report.decisions import decisions
from autoprune.report.document import document
from autoprune.report.model_card import model_card
from autoprune.report.page import REPORT, report
from autoprune.report.plot import front_picture
from autoprune.store.reading import DECISIONS, read_run
from autoprune.store.run import RunDirectory
from autoprune.tasks.task import Task


def written(
    directory: RunDirectory,
    *,
    task: Task,
    seed: int,
    devices: Mapping[str, Mapping[str, Any]],
    budget: Budget,
    objectives: Sequence[Metric],
    prefer: str,
    trials: Sequence[Trial],
    final: FinishedSearch,
    overhead: float,
    partial: bool,
    short: bool,
    reporter: Reporter,
) -> Result:
    """Write down what a search came to, and return it.

    Args:
        directory: Of the run.
        task: What was searched.
        seed: Of all that was random.
        devices: How models were run, by the name of the device.
        budget: With every limit.
        objectives: What was traded off.
        prefer: Which of those within the budget is the best, as it was written.
        trials: All of them, held against the budget.
        final: What was finished.
        overhead: The share of the workers' time that was neither evaluation nor measurement.
        partial: Whether the front is of a search that was stopped.
        short: Whether the search for candidates was cut short, be the front finished or not.
        reporter: Told what is left out.
    """
    content = document(
        run=str(directory.path),
        task=task.name,
        seed=seed,
        seconds=directory.seconds,
        devices=devices,
        budget=budget,
        objectives=[metric.name for metric in objectives],
        qualities=task.metrics,
        prefer=prefer,
        trials=trials,
        dense=final.dense,
        front=final.front,
        test=final.test,
        partial=partial,
        stages={
            **directory.stages,
            "scoring": sum(trial.timing.cut + trial.timing.evaluate for trial in trials),
            "timing": sum(trial.timing.measure for trial in trials),
        },
        failures={"fine-tuning": final.untrained, "finishing": final.unfinished},
    )
    directory.write_front(content)
    directory.write("front.png", front_picture(task.name, trials, final.dense, final.front, budget))
    directory.log("finished", best=content["best"], partial=short)
    for name, write in ((DECISIONS, _decide), ("card", _card), (REPORT, _draw)):
        try:
            write(directory, content)
        except Exception as error:  # all that the search found is in files by now
            reporter.note(f"there is no {name}: {describe(error)}")
    points = {
        trial.number: Point(
            trial=trial.number,
            feasible=trial.feasible,
            plan=trial.plan,
            measurements=trial.measurements,
            folder=directory.model(trial.number),
            task=task,
        )
        for trial in final.front.trials
    }
    best = None if final.front.best is None else points[final.front.best.number]
    return Result(directory.path, tuple(points.values()), best, content, overhead)


def _decide(directory: RunDirectory, _: Mapping[str, Any]) -> None:
    directory.write(DECISIONS, decisions(read_run(directory.path)).encode())


def _card(directory: RunDirectory, front: Mapping[str, Any]) -> None:
    """A card of each model: what its search knows goes around what its folder says of itself."""
    record = read_run(directory.path)
    for point in front["front"]:
        name = f"models/{point['trial']}/{README}"
        stored = (directory.read(name) or b"").decode()
        directory.write(name, model_card(record, front, point["trial"], stored).encode())


def _draw(directory: RunDirectory, _: Mapping[str, Any]) -> None:
    directory.write(REPORT, report([directory.path]))
