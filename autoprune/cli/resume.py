"""`autoprune resume` and `autoprune finetune`: go on with a run that was begun earlier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.completion import runs
from autoprune.cli.options import OUTPUT, Live, parsed, with_options
from autoprune.options.described import finetunable, resumable

if TYPE_CHECKING:
    from autoprune.engine.result import Result

Run = Annotated[Path, typer.Argument(help="The run directory of an earlier search.", autocompletion=runs)]
Json = Annotated[bool, typer.Option("--json", help="Print front.json instead of a table.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT)]


def _resume(run: Run, as_json: Json = False, quiet: Quiet = False, live: Live = False, **options: Any) -> int:
    """Go on with a search where it was when it ended, however it ended; what is not given is as it was begun."""
    from autoprune.api.resume import resume as go_on

    return _done(go_on, run, as_json=as_json, quiet=quiet, live=live, asked=options)


def _finetune(run: Run, as_json: Json = False, quiet: Quiet = False, **options: Any) -> int:
    """Choose and fine-tune the best candidates of a run once more; no new ones are proposed, and what is not given is
    as
    it was begun."""
    from autoprune.api.resume import finetune as train

    return _done(train, run, as_json=as_json, quiet=quiet, live=False, asked=options)


resume = with_options(_resume, names=resumable(), as_begun=True)
finetune = with_options(_finetune, names=finetunable(), as_begun=True)
resume.__name__, finetune.__name__ = "resume", "finetune"


def _done(
    go_on: Callable[..., Result], run: Path, as_json: bool, quiet: bool, live: bool, asked: dict[str, Any]
) -> int:
    """Go on with a run as it is asked for, and tell how it ended."""
    from autoprune.cli.console import aside
    from autoprune.cli.live import news
    from autoprune.cli.print_result import print_result

    with news(quiet, live) as (reporter, on_front), aside():
        told = {} if on_front is None else {"on_front": on_front}
        result = go_on(run, reporter=reporter, **told, **parsed(asked))
    return print_result(result, as_json)
