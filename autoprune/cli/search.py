"""`autoprune search`: options in, a run directory and a table out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.completion import plugins
from autoprune.cli.options import OUTPUT, Live, parsed, with_options
from autoprune.options.option import WHAT
from autoprune.options.search_options import SearchOptions


def _configured(context: typer.Context, file: Path | None) -> Path | None:
    """Options from a YAML file become defaults; what stands on the command line goes before them."""
    from autoprune.errors import UsageError
    from autoprune.search_spaces.document import read

    if file is not None:
        options = read(file)
        known = {parameter.opts[0].lstrip("-"): parameter for parameter in context.command.params}
        del known["config"]
        keys = (
            {str(key).replace("_", "-"): value for key, value in options.items()} if isinstance(options, dict) else {}
        )
        wrong = sorted(set(keys) - set(known))
        if isinstance(options, dict) and len(keys) < len(options):
            cure = "write each with hyphens or with underscores"
            raise UsageError(expected=f"each option once in {file}", received=", ".join(map(str, options)), cure=cure)
        if wrong or not keys:
            raise UsageError(
                expected=f"options of `autoprune search` in {file}",
                received=", ".join(wrong) or "none",
                cure=f"known: {', '.join(known)}",
            )
        several = {key for key in keys if getattr(known[key], "multiple", False)}
        given = {
            str(known[key].name): _repeated(value) if key in several else _text(value)
            for key, value in keys.items()
            if value is not None or key in several
        }
        context.default_map = {**(context.default_map or {}), **given}
    return file


def _repeated(value: Any) -> list[str]:
    """What may be repeated on the command line is in YAML a list, names with values, or one alone."""
    if isinstance(value, dict):
        return [f"{name}={_text(part)}" for name, part in value.items()]
    return [_text(part) for part in (value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    """As it would stand on the command line, so that 1.5 or true is refused where a whole number is expected."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_search(
    task: Annotated[
        str,
        typer.Argument(help="digits, file.py:callable or package.module:callable.", autocompletion=plugins("tasks")),
    ] = "digits",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit such as latency=5ms, latency=50%, params=1M, accuracy>=-1%, or latency@pi=20ms on a device "
            "that was added. May be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric to trade off; default: the task's quality, and every limited cost or else latency. "
            "May be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with these options.", is_eager=True, callback=_configured)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print front.json instead of a table.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)] = False,
    live: Live = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be searched, and stop.", rich_help_panel=OUTPUT)
    ] = False,
    **options: Any,
) -> int:
    """Search the pruned models that no other candidate beats, within a budget that is measured."""
    from autoprune.cli.console import aside
    from autoprune.cli.live import news
    from autoprune.cli.print_result import print_result
    from autoprune.core.budget import Budget

    del config
    limits = Budget.parse(*(budget or ()), objectives=objective or ())
    given = parsed(options)
    SearchOptions(**given)  # what is refused is refused before anything heavy is imported
    from autoprune.api.search import preview
    from autoprune.api.search import search as find

    if dry_run:
        with news(quiet, False) as (reporter, _), aside():
            found = preview(task, limits, reporter=reporter, **given)
        typer.echo(json.dumps(found, indent=1) if as_json else _listed(found))
        return 0
    with news(quiet, live) as (reporter, on_front), aside():
        result = find(task, limits, reporter=reporter, on_front=on_front, **given)
    return print_result(result, as_json)


search = with_options(run_search)
search.__name__ = "search"


def _listed(found: dict[str, Any]) -> str:
    """Nested values, one a line."""
    lines: list[str] = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines.extend(f"  {name}: {each}" for name, each in value.items())
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
