"""`autoprune resume` and `autoprune finetune`: go on with a run that was begun earlier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.completion import runs
from autoprune.cli.options import OUTPUT, parsed, with_options
from autoprune.options.search_options import finetunable, resumable

if TYPE_CHECKING:
    from autoprune.engine.result import Result

Run = Annotated[Path, typer.Argument(help="The run directory of an earlier search.", autocompletion=runs)]
Json = Annotated[bool, typer.Option("--json", help="Print front.json instead of a table.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)]


def _resume(run: Run, as_json: Json = False, quiet: Quiet = False, **options: Any) -> int:
    """Go on with a search where it was when it ended, however it ended; what is not given is as it was begun."""
    from autoprune.api.resume import resume as go_on

    return _done(go_on, run, as_json, quiet, options)


def _finetune(run: Run, as_json: Json = False, quiet: Quiet = False, **options: Any) -> int:
    """Choose and fine-tune the best candidates of a run once more; no new ones are proposed, and what is not given is
    as
    it was begun."""
    from autoprune.api.resume import finetune as train

    return _done(train, run, as_json, quiet, options)


resume = with_options(_resume, names=resumable(), as_begun=True)
finetune = with_options(_finetune, names=finetunable(), as_begun=True)
resume.__name__, finetune.__name__ = "resume", "finetune"


def _done(go_on: Callable[..., Result], run: Path, as_json: bool, quiet: bool, asked: dict[str, Any]) -> int:
    """Go on with a run as it is asked for, and tell how it ended."""
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.cli.print_result import print_result
    from autoprune.core.clock import SystemClock

    with aside():
        result = go_on(run, reporter=ConsoleReporter(quiet, SystemClock()), **parsed(asked))
    return print_result(result, as_json)
