"""`autoprune runs`: what was searched so far, and what of it can go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.completion import runs as runs_here
from autoprune.cli.options import group_of_commands

if TYPE_CHECKING:
    from autoprune.store.runs import RunSummary

_HERE = Path("runs")


def listed(
    places: Annotated[
        list[Path] | None, typer.Argument(help="Runs, or folders of runs; default: runs/.", autocompletion=runs_here)
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only these: running, finished, stopped, unfinished, unreadable. May be repeated."),
    ] = None,
    task: Annotated[str, typer.Option(help="Only those whose task has this in its name.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The machine form.")] = False,
) -> int:
    """List runs side by side: state, task, budget, what their best model has, and how much disk they take."""
    import json

    from autoprune.errors import UsageError
    from autoprune.report.table import aligned
    from autoprune.store.runs import STATES, runs_in

    if wrong := sorted(set(state or ()) - set(STATES)):
        raise UsageError(expected=f"a state: {', '.join(STATES)}", received=wrong[0], cure="take one of them")
    searched = places or ([_HERE] if _HERE.is_dir() else [])
    found = [run for run in runs_in(searched) if run.state in (state or STATES) and task in run.task]
    if as_json:
        typer.echo(json.dumps([run.to_json() for run in found], indent=1))
        return 0
    if found:
        keys = [*dict.fromkeys(key for run in found for key in run.metrics)]
        head = ["run", "state", "begun", "task", "budget", "candidates", *(f"best {key}" for key in keys), "disk"]
        typer.echo(aligned([head, *(_row(run, keys) for run in found)], right={5, len(head) - 1}))
    else:
        typer.echo("no such runs", err=True)
    return 0


def _row(run: RunSummary, keys: list[str]) -> list[str]:
    import datetime

    from autoprune.core import quantity

    begun = datetime.datetime.fromtimestamp(run.begun).astimezone()
    best = [
        quantity.show_interval(each["value"], each["low"], each["high"], each["unit"]) if each else "-"
        for each in (run.metrics.get(key) for key in keys)
    ]
    told = [str(run.path), run.state, f"{begun:%Y-%m-%d %H:%M}", run.task, " ".join(run.budget), str(run.trials)]
    return [*told, *best, quantity.show(run.size, "B")]


def clean(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.", autocompletion=runs_here)],
    whole: Annotated[
        bool, typer.Option("--whole", help="Remove the runs themselves, with their models; not what else is there.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and stop.")] = False,
) -> int:
    """Free disk: what is made again by a command or was left by what has ended; with --whole, all of these runs."""
    from autoprune.core import quantity
    from autoprune.store.files import remove
    from autoprune.store.runs import cleanable, size

    with cleanable(runs, whole=whole) as going:
        free = sum(map(size, going))
        for path in going:
            typer.echo(path)
            if not dry_run:
                remove(path)
    if not dry_run:
        typer.echo(f"{quantity.show(free, 'B')} are free now", err=True)
    return 0


def runs_app() -> typer.Typer:
    app = group_of_commands("What was searched so far, and what of it can go.")
    app.command("list")(listed)
    app.command("clean")(clean)
    return app
