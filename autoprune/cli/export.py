"""`autoprune export`: a finished model as files that runtimes read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.completion import plugins, runs
from autoprune.cli.options import OUTPUT

if TYPE_CHECKING:
    from autoprune.deployment.card import Exported


def export(
    subject: Annotated[
        Path,
        typer.Argument(help="A run directory (its best model), or the folder of one model.", autocompletion=runs),
    ],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            autocompletion=plugins("exporters", several=True),
            help="One or several, with commas: onnx, openvino, torch-export, executorch, safetensors, transformers.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Where each has a folder of its name; default: `exported` beside it."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="What it was made from, where that has another name here.")] = None,
    batch: Annotated[int, typer.Option(help="Batch size that is exported and timed; default: that of the run.")] = 0,
    threads: Annotated[int, typer.Option(help="Processor threads on which it is timed.")] = 1,
    precision: Annotated[str, typer.Option(help="That the files compute in.")] = "float32",
    opset: Annotated[int | None, typer.Option(help="Version of ONNX's operators.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Write a model for other runtimes. Each file is run, compared with torch on the calibration split, and timed."""
    from autoprune.api.export import export as written
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.deployment.card import CARD

    with aside():
        cards = written(
            subject,
            formats,
            output,
            task=task,
            batch=batch,
            threads=threads,
            precision=precision,
            opset=opset,
            reporter=ConsoleReporter(quiet, SystemClock()),
        )
    if as_json:
        typer.echo(json.dumps([json.loads((card.folder / CARD).read_bytes()) for card in cards], indent=1))
    else:
        typer.echo(_table(cards))


def _table(cards: tuple[Exported, ...]) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["format", "from torch", "latency", "may vary", "file"]]
    for card in cards:
        latency = card.measurements["latency"]
        shown = f"{quantity.show(latency.value, latency.unit)} in {card.profiler}"
        rows.append([card.format, f"{card.difference:.1e}", shown, ", ".join(card.varies) or "-", str(card.path)])
    return aligned(rows)
