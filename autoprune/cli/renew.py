"""`autoprune renew`: the best model of a run, made anew for new weights or new data; or whether it has to be."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.completion import runs
from autoprune.cli.options import OUTPUT, parsed, with_options
from autoprune.errors import RenewalDueError
from autoprune.options.described import renewable


def run_renew(
    run: Annotated[Path, typer.Argument(help="The run directory of an earlier search.", autocompletion=runs)],
    task: Annotated[str, typer.Option(help="New data or new weights: file.py:callable or package.module:callable.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it is due: exit code 8 where it is; nothing is made.")
    ] = False,
    into: Annotated[
        Path | None, typer.Option(help="A new run directory; default: the next version beside the old run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)] = False,
    **options: Any,
) -> int:
    """Make the best model of a run anew: the same plan on new weights or new data, compared with the old model."""
    from autoprune.api.renew import renew as make
    from autoprune.api.renew import renewal_due
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.store.reading import RENEWAL

    reporter = ConsoleReporter(quiet, SystemClock())
    if check:
        with aside():
            found = renewal_due(run, task, reporter=reporter)
        typer.echo(json.dumps(asdict(found), indent=1) if as_json else found.said)
        if found.due:
            cure = f"autoprune renew {run} --task {task}"
            raise RenewalDueError(expected="the old model to hold", received=found.said, cure=cure)
        return 0
    with aside():
        renewed = make(run, task, into=into, reporter=reporter, **parsed(options))
    where = renewed.result.run
    if as_json:
        typer.echo((where / RENEWAL).read_text(encoding="utf-8"), nl=False)
        return 0
    typer.echo(f"{renewed.said}\nversion {renewed.version}: {where}")
    return 0


renew = with_options(run_renew, names=renewable(), as_begun=True)
renew.__name__ = "renew"
