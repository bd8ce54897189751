"""`autoprune watch`: the page of a run, kept up to date while it searches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from autoprune.cli.completion import runs as runs_here

_PORT: Final = 7334


def watch(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories; several are drawn on the same axes.", autocompletion=runs_here),
    ],
    bind: Annotated[str, typer.Option(help="HOST:PORT; port 0: any free one.")] = f"127.0.0.1:{_PORT}",
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that who looks must bring; made where there is none.")
    ] = None,
) -> int:
    """Serve the page of `autoprune report` on this machine, and follow the search. Nothing is written."""
    from autoprune.agent.settings import AgentSettings, bound, token_of
    from autoprune.api.watch import watch as serve

    def say(text: str) -> None:
        typer.echo(f"autoprune: {text}", err=True)

    host, port = bound(bind, _PORT)
    token, made = token_of(token_file) if token_file is not None else ("", False)
    if made:
        say(f"made a token in {token_file}: open the page with it")
    serve(runs, AgentSettings(host=host, port=port, token=token), say)
    return 0
