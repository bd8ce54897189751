"""`autoprune evaluate`: a plan that somebody gives, scored and timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.options import OUTPUT, with_options
from autoprune.options.described import evaluable

if TYPE_CHECKING:
    from autoprune.api.evaluate import Evaluated


def run_evaluate(
    plan: Annotated[
        Path, typer.Option(help="A JSON file of counts or ratios by group, such as the plan.json of a model.")
    ],
    task: Annotated[str, typer.Argument(help="digits, file.py:callable or package.module:callable.")] = "digits",
    split: Annotated[str, typer.Option(help="Whose score is told: search, validation or test.")] = "search",
    save: Annotated[Path | None, typer.Option(help="A folder for the model.", rich_help_panel=OUTPUT)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)] = False,
    **options: Any,
) -> int:
    """Cut a model by a plan, repair it as a search does, score it and time it beside the dense one."""
    from autoprune.api.evaluate import evaluate as find
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.report.document import metrics

    with aside():
        found = find(task, plan, split=split, reporter=ConsoleReporter(quiet, SystemClock()), **options)
        if save is not None:
            found.save(save)
    document = {"plan": found.plan.kept, "metrics": metrics(found.measurements), "dense": metrics(found.dense)}
    typer.echo(json.dumps(document, indent=1) if as_json else _table(found))
    return 0


evaluate = with_options(run_evaluate, names=evaluable())
evaluate.__name__ = "evaluate"


def _table(found: Evaluated) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["metric", "dense", "by the plan", "95 % interval"]]
    for key, measured in found.measurements.items():
        dense = found.dense.get(key)
        ends = quantity.show(measured.low, measured.unit), quantity.show(measured.high, measured.unit)
        rows.append(
            [
                key,
                "-" if dense is None else quantity.show(dense.value, dense.unit),
                quantity.show(measured.value, measured.unit),
                "exact" if measured.low == measured.high else f"{ends[0]} to {ends[1]}",
            ]
        )
    return aligned(rows, right=range(1, 3))
