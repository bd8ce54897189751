"""`autoprune report`: runs as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli.completion import runs as runs_here


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories; several are drawn on the same axes.", autocompletion=runs_here),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where the page goes; default: report.html in the run, of several here.")
    ] = None,
) -> int:
    """Write a page of one run, or of several: the front, every model, the search. One file that needs no network."""
    from autoprune.report.page import REPORT
    from autoprune.report.page import report as page
    from autoprune.store.files import write_atomic

    target = output or (runs[0] if len(runs) == 1 else Path()) / REPORT
    write_atomic(target, page(runs))
    typer.echo(target)
    return 0
