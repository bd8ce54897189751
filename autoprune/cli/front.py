"""`autoprune front`: the front of a finished run as a table, and its best chosen again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli.completion import runs


def front(
    run: Annotated[Path, typer.Argument(help="A run directory.", autocompletion=runs)],
    within: Annotated[
        list[str] | None,
        typer.Option(help="Choose the best again within a limit such as latency=4ms. May be repeated."),
    ] = None,
    prefer: Annotated[
        str, typer.Option(help="Choose the best again by weights, such as accuracy:2,latency:1, or the knee.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print front.json, with bundles.")] = False,
) -> None:
    """Print the front of a run: the dense model, every model that no other beats, and bundles of them."""
    from autoprune.report.chosen import chosen_again
    from autoprune.report.table import front_table, loading
    from autoprune.store.reading import read_bundles, read_front

    found, bundles = read_front(run), read_bundles(run)
    again = bool(within or prefer)
    if again:
        found = chosen_again(found, within or (), prefer)
    shown = {**found, "bundles": bundles} if bundles else found
    typer.echo(json.dumps(shown, indent=1) if as_json else front_table(found, bundles))
    if again and not as_json:
        typer.echo(f"load it: {loading(found, run)}")
