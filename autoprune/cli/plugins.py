"""`autoprune plugins`: every name that an option takes."""

from __future__ import annotations

import typer


def plugins() -> None:
    """List every plug-in by its kind, and the search spaces."""
    from autoprune import families, registry

    for kind in registry.KINDS:
        typer.echo(f"{kind}: {', '.join(registry.names(kind))}")
    typer.echo(f"search spaces: {', '.join(families.names())}")
