"""What a search returns. Knows where models lie and how to load them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.core.reporter import Logged, Reporter, Silent
from autoprune.deployment.card import Exported
from autoprune.engine.exporting import export_folder
from autoprune.errors import StorageError
from autoprune.models.folder import PLAN, read
from autoprune.models.rebuild import rebuild
from autoprune.report.chosen import chosen_again
from autoprune.report.page import REPORT
from autoprune.report.table import front_html
from autoprune.store.reading import read_front
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Point:
    """One finished model of the front.

    Attributes:
        trial: Its number.
        feasible: Whether it meets every limit.
        plan: What it keeps of each group.
        measurements: By key, such as "latency" and "accuracy".
        folder: Where it lies.
        task: What it is rebuilt from; None to find that by its name.

    Example:
        >>> result.best.load()  # doctest: +SKIP
    """

    trial: int
    feasible: bool
    plan: Plan = field(repr=False)
    measurements: Mapping[str, Measurement] = field(repr=False)
    folder: Path
    task: Task | None = field(repr=False)

    def load(self) -> nn.Module:
        """Load it.

        Returns:
            The pruned model with its weights, in eval mode.

        Raises:
            StorageError: its folder is damaged, or belongs to another model.
        """
        return rebuild(self.folder, self.task, Silent())

    def export(
        self,
        *formats: str,
        output: str | PathLike[str] | None = None,
        batch: int = 0,
        threads: int = 1,
        precision: str = "float32",
        opset: int | None = None,
        reporter: Reporter | None = None,
    ) -> tuple[Exported, ...]:
        """Write it as files that runtimes read; each is run, compared with torch on the calibration split, and timed.

        Args:
            *formats: "onnx", "openvino", "torch-export", "executorch", "safetensors", "transformers".
            output: Where each has a folder of its name; default: `exported` in the model's folder.
            batch: That is exported and timed; 0 for that of the example inputs.
            threads: On which it is timed.
            precision: That files compute in.
            opset: Version of operators, where a format has any; None for the usual one.
            reporter: Who is told of progress; default: the logger "autoprune".

        Returns:
            The cards, in that order.

        Raises:
            UsageError: an unknown format, or one without that precision or opset; or a folder that is there.
            DeviceError: a library is missing, or the model cannot be expressed in a format.

        Example:
            >>> result.best.export("onnx")  # doctest: +SKIP
        """
        return export_folder(
            self.folder,
            self.task,
            formats,
            None if output is None else Path(output),
            reporter or Logged(),
            batch=batch,
            threads=threads,
            precision=precision,
            opset=opset,
        )


@dataclass(frozen=True)
class Result:
    """What a search returns.

    Attributes:
        run: The run directory.
        front: Finished models that no other finished one beats, by ascending cost.
        best: Of those within the budget the one that the search preferred, by default that of the highest quality; None
            where nothing met the budget.
        document: The content of `front.json`.
        overhead: Share of the workers' time that was neither evaluation nor measurement; NaN where nobody looked.
    """

    run: Path
    front: tuple[Point, ...] = field(repr=False)
    best: Point | None
    document: Mapping[str, Any] = field(repr=False)
    overhead: float

    def _repr_html_(self) -> str:
        """The front as a notebook shows it, and where its page is."""
        page = self.run / REPORT
        told = f"<p>Look at it: <code>{escape(str(page))}</code></p>" if page.exists() else ""
        return front_html(self.document) + told

    def choose(self, *, prefer: str = "", **within: str) -> Point:
        """The best model of the front under other limits, or by another preference; nothing is searched.

        Args:
            prefer: Weights such as "accuracy:2,latency:1", or "knee"; default: as the search was asked.
            **within: Limits such as `latency="4ms"` or `accuracy=">=-1%"`, which take the place of those of the search
                on the same metric; two underscores before a statistic, as in `latency__p99="8ms"`.

        Returns:
            One of `front`.

        Raises:
            UsageError: a limit or a preference that is not of this front.
            BudgetInfeasibleError: no model of the front is within the limits.

        Example:
            >>> result.choose(latency="4ms", prefer="knee").load()  # doctest: +SKIP
        """
        limits = [_written(key.replace("__", "."), value) for key, value in within.items()]
        best = chosen_again(self.document, limits, prefer)["best"]
        return next(point for point in self.front if point.trial == best)


def _written(key: str, value: str) -> str:
    """A limit as it is written on the command line."""
    return f"{key}{value}" if str(value).startswith(("<", ">")) else f"{key}={value}"


def model_folder(subject: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of one model, of a run its best, and how it was measured there: profiler, threads, batch, precision.

    Raises:
        StorageError: it is neither, or the run has no best model.
    """
    if (subject / PLAN).is_file():
        return subject, {}
    front = read_front(subject)
    if front["best"] is None:
        raise StorageError(
            expected=f"a run with a best model in {subject}",
            received="none met its budget",
            cure="give the folder of one of its models",
        )
    recorded = front["profiler"]
    measured = {key: recorded[key] for key in ("threads", "batch", "precision") if key in recorded}
    return subject / "models" / str(front["best"]), {**measured, "profiler": recorded["name"]}


def read_result(run: Path, task: Task | None) -> Result:
    """The result of a search that has ended. task: what models are rebuilt from, None to find it by its name.

    Raises:
        StorageError: there is none, or a model that it names is damaged.
    """
    content = read_front(run)
    points = {}
    for point in content["front"]:
        folder = (run / point["model"]).parent
        if not folder.resolve().is_relative_to(run.resolve()):
            raise StorageError(
                expected=f"models inside {run}", received=point["model"], cure="restore front.json from a copy"
            )
        record, _ = read(folder)
        measured = {key: Measurement.from_json(key, raw) for key, raw in point["metrics"].items()}
        points[point["trial"]] = Point(
            trial=record.trial,
            feasible=point["feasible"],
            plan=record.plan,
            measurements=measured,
            folder=folder,
            task=task,
        )
    return Result(run, tuple(points.values()), points.get(content["best"]), content, math.nan)
