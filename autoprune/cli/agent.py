"""`autoprune agent`: offer this machine's measuring to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def agent(
    bind: Annotated[str, typer.Option(help="HOST:PORT; port 0: any free one.")] = "127.0.0.1:7333",
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that drivers must bring; made where there is none.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate (PEM), for https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task whose modules may be measured here with torch; this machine must have it."),
    ] = None,
    memory: Annotated[
        str, typer.Option(help="What a model may use, such as 2GiB; default: most of what is free.")
    ] = "",
    cache: Annotated[str, typer.Option(help="What files of models may take of the disk.")] = "4GiB",
    folder: Annotated[Path | None, typer.Option(help="For its files; default: in the user's cache.")] = None,
) -> int:
    """Measure on this machine for searches on others (see docs/devices.md)."""
    from autoprune.core import quantity
    from autoprune.errors import DeviceError, describe

    def size(text: str) -> float:
        number, suffix = quantity.split(text)
        return number * quantity.scale(suffix, "B", text)

    def say(text: str) -> None:
        typer.echo(f"autoprune: {text}", err=True)

    try:
        from autoprune.agent.serve import serve
    except ImportError as error:
        raise DeviceError(
            expected="the libraries of the agent", received=describe(error), cure="pip install 'autoprune[agent]'"
        ) from error
    from autoprune.agent.settings import AgentSettings, bound, token_of
    from autoprune.store.device import cache_folder

    host, port = bound(bind)
    token = ""
    if token_file is not None:
        token, made = token_of(token_file)
        if made:
            say(f"made a token in {token_file}: give it to drivers")
    settings = AgentSettings(
        host=host,
        port=port,
        token=token,
        tls_cert=str(tls_cert or ""),
        tls_key=str(tls_key or ""),
        tasks=tuple(task or ()),
        memory=size(memory) if memory else None,
        cache_bytes=int(size(cache)),
    )
    serve(settings, folder or cache_folder("agent"), say)
    return 0
