"""`autoprune front`: the front of a finished run as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def front(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print front.json.")] = False,
) -> None:
    """Print the front of a run: the dense model, and every model that no other beats."""
    from autoprune.report.table import front_table
    from autoprune.store.run import read_front

    found = read_front(run)
    typer.echo(json.dumps(found, indent=1) if as_json else front_table(found))
