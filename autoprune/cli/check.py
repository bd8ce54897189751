"""`autoprune check`: an artifact held against a budget, for a pipeline that must stop where it is not kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.options import OUTPUT
from autoprune.core.address import HERE
from autoprune.errors import BudgetInfeasibleError

if TYPE_CHECKING:
    from autoprune.api.check import Checked


def check(
    subject: Annotated[
        Path, typer.Argument(help="The folder of a model, a run (its best), or what `export` wrote: folder or file.")
    ],
    budget: Annotated[list[str] | None, typer.Option(help="A limit, such as latency=5ms. May be repeated.")] = None,
    floor: Annotated[
        list[str] | None, typer.Option(help="A limit on a quality, such as accuracy>=0.98. May be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where costs are measured.")] = HERE,
    profiler: Annotated[str, typer.Option(help="What runs it; default: what its run or its format has.")] = "",
    threads: Annotated[int, typer.Option(help="Processor threads; default: those of the device, or of the run.")] = 0,
    task: Annotated[str | None, typer.Option(help="That scores it; needed where an export names code.")] = None,
    split: Annotated[str, typer.Option(help="On which qualities are scored: validation or test.")] = "validation",
    trust: Annotated[bool, typer.Option("--trust", help="Run code of an export: a .pt2 file, its task.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Measure an artifact, and exit with 3 where it does not keep a budget or a quality floor."""
    from autoprune.api.check import check as held
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock

    with aside():
        found = held(
            subject,
            budget or (),
            floor=floor or (),
            device=device,
            profiler=profiler,
            threads=threads,
            task=task,
            split=split,
            trust=trust,
            reporter=ConsoleReporter(quiet, SystemClock()),
        )
    typer.echo(json.dumps(_document(found), indent=1) if as_json else _table(found))
    broken = [each for each in found.limits if not each.kept]
    if broken:
        from autoprune.core import quantity

        raise BudgetInfeasibleError(
            expected=", ".join(str(each.limit) for each in broken),
            received=", ".join(
                f"{each.measured.metric} {quantity.show(each.measured.value, each.measured.unit)}" for each in broken
            ),
            cure="choose a smaller model of the front, or prune anew with this budget",
        )


def _document(found: Checked) -> dict[str, object]:
    return {
        "kept": found.kept,
        "limits": [
            {"limit": str(each.limit), "bound": each.bound, "kept": each.kept, **each.measured.to_json()}
            for each in found.limits
        ],
    }


def _table(found: Checked) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["limit", "measured", "kept", ""]]
    for each in found.limits:
        measured, unit = each.measured, each.measured.unit
        exact = measured.low == measured.high
        shown = quantity.show(measured.value, unit)
        span = shown if exact else quantity.show_interval(measured.value, measured.low, measured.high, unit)
        doubt = "" if measured.valid and measured.converged else f"uncertain: {measured.note}"
        rows.append([str(each.limit), span, "yes" if each.kept else "no", doubt])
    return aligned(rows)
