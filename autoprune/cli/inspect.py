"""`autoprune inspect`: the groups of a task's model."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer


def inspect(
    task: Annotated[str, typer.Argument(help="digits, file.py:callable or package.module:callable.")] = "digits",
    space: Annotated[str | None, typer.Option(help="A search space by name, or a YAML file.")] = None,
    members: Annotated[bool, typer.Option("--members", help="Name every member instead of counting them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the groups as JSON.")] = False,
) -> None:
    """List what may be cut: group, kind, size, step, members, share of parameters and operations, why it is frozen.

    The last line says how much of the model can be cut, and why the rest cannot.
    """
    from autoprune.api.prepare import inspected, make_task
    from autoprune.cli.console import ConsoleReporter
    from autoprune.core.clock import SystemClock
    from autoprune.report.table import aligned

    family, groups, coverage = inspected(make_task(task, ConsoleReporter(False, SystemClock())), space)
    if as_json:
        document = {
            "family": family.name,
            "coverage": asdict(coverage),
            "groups": [asdict(group) for group in groups],
        }
        typer.echo(json.dumps(document, indent=1))
        return
    rows: list[list[Any]] = [["group", "kind", "size", "step", "tie", "members", "params", "flops", "frozen because"]]
    for group in sorted(groups, key=lambda group: bool(group.frozen_reason)):
        named = " ".join(map(str, group.members)) if members else str(len(group.members))
        rows.append(
            [
                group.name,
                group.kind,
                str(group.size),
                str(group.step),
                group.tie,
                named,
                f"{group.share_params:.1%}",
                f"{group.share_flops:.1%}",
                group.frozen_reason,
            ]
        )
    typer.echo(aligned(rows, right=range(2, 4)))
    typer.echo(f"search space '{family.name}': {coverage}")
