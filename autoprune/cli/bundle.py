"""`autoprune bundle`: several models of a front as one that adapts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.completion import plugins, runs
from autoprune.cli.options import OUTPUT, pair
from autoprune.errors import UsageError

if TYPE_CHECKING:
    from autoprune.deployment.bundle_folder import Bundled


def bundle(
    subject: Annotated[
        list[Path],
        typer.Argument(help="A run directory, or folders of finished models of one task.", autocompletion=runs),
    ],
    policy: Annotated[
        str,
        typer.Option(
            help="Who answers: cascade, deadline, load, context; `autoprune plugins` lists all.",
            autocompletion=plugins("policies"),
        ),
    ] = "cascade",
    members: Annotated[
        str, typer.Option(help="Numbers of a run's models, with commas; default: its front up to the best.")
    ] = "",
    policy_option: Annotated[
        list[str] | None, typer.Option(help="An option of the policy, such as drop=0.01. May be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder that is not there yet; default: bundles/POLICY in the run.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What models were made from, where that has another name here.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Processor threads; default: those of the run.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle.json.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Make one artifact of several models, of which a policy chooses for each request; it is measured as one model."""
    from autoprune.api.bundle import bundle as made
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.store.reading import BUNDLE

    with aside():
        found = made(
            subject,
            policy,
            members=_numbers(members),
            options=dict(pair(text, "policy_options") for text in policy_option or ()),
            output=output,
            task=task,
            threads=threads,
            reporter=ConsoleReporter(quiet, SystemClock()),
        )
    typer.echo((found.folder / BUNDLE).read_text(encoding="utf-8").rstrip() if as_json else _table(found))


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not part.isdigit()]:
        raise UsageError(expected="numbers of trials", received=repr(wrong[0]), cure="write for example --members 5,36")
    return [int(part) for part in parts]


def _table(found: Bundled) -> str:
    from autoprune.core import quantity
    from autoprune.deployment.bundle_folder import expected, rows
    from autoprune.report.table import aligned

    cells = rows(found)
    lines = [aligned(cells, right=range(1, len(cells[0]))), f"{found.policy}: {found.told}"]
    lines += [expected(found)] if expected(found) else []
    stored, apart = quantity.show(found.stored, "B"), quantity.show(found.apart, "B")
    lines.append(f"weights: {stored}, stored alone {apart}; in {found.folder}")
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])
