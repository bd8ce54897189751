"""`autoprune profile`: what a model costs on this device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def profile(
    subject: Annotated[
        str, typer.Argument(help="A task, a run directory (its best model), or the folder of one model.")
    ] = "digits",
    profiler: Annotated[str, typer.Option(help="What measures.")] = "torch",
    batch: Annotated[int, typer.Option(help="Batch size; 0: the task's own.")] = 0,
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print every measurement as JSON.")] = False,
) -> None:
    """Measure latency, throughput, parameters, operations and size of a model."""
    from autoprune.api.profile import find_model
    from autoprune.api.profile import profile as measure
    from autoprune.cli.console import ConsoleReporter
    from autoprune.core import quantity
    from autoprune.core.clock import SystemClock
    from autoprune.report.document import metrics
    from autoprune.report.table import aligned

    model, inputs = find_model(
        subject if not Path(subject).is_dir() else Path(subject), ConsoleReporter(False, SystemClock())
    )
    found = measure(model, inputs, profiler=profiler, threads=threads, batch=batch)
    if as_json:
        typer.echo(json.dumps(metrics(found), indent=1))
        return
    rows = [["metric", "value", "95 % interval", ""]]
    for key, measured in found.items():
        low, high = quantity.show(measured.low, measured.unit), quantity.show(measured.high, measured.unit)
        span = "exact" if measured.low == measured.high else f"{low} to {high}"
        rows.append(
            [
                key,
                quantity.show(measured.value, measured.unit),
                span,
                "" if measured.valid else f"uncertain: {measured.note}",
            ]
        )
    typer.echo(aligned(rows, right=range(1, 3)))
