"""`autoprune plugins`: every name that an option takes, with what it is."""

from __future__ import annotations

from typing import Final

import typer

_WIDTH: Final = 20


def plugins() -> None:
    """List every plug-in by its kind, and the search spaces, with a line on each."""
    from autoprune import registry, search_spaces

    for kind in registry.KINDS:
        _listed(kind, {name: registry.about(kind, name) for name in registry.names(kind)})
    _listed("search spaces", {name: search_spaces.about(name) for name in search_spaces.names()})


def _listed(kind: str, said: dict[str, str]) -> None:
    typer.echo(f"{kind}:")
    for name, text in said.items():
        typer.echo(f"  {name:{_WIDTH}}{text}")
