"""`autoprune devices`: the machines on which models are measured, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli.options import group_of_commands

_WIDTH = 14
Name = Annotated[str, typer.Argument(help="What the device is called.")]


def add(
    name: Name,
    address: Annotated[str, typer.Argument(help="ssh://user@host[:port], http://host:port or https://host:port.")],
    profiler: Annotated[str, typer.Option(help="What runs models there, unless a search names another.")] = "",
    threads: Annotated[int, typer.Option(help="Processor threads, unless a search names another number.")] = 0,
    python: Annotated[str, typer.Option(help="With ssh: the Python there that has autoprune[agent].")] = "",
    token_file: Annotated[Path | None, typer.Option(help="With http(s): a file with the agent's token.")] = None,
) -> int:
    """Name a device, or change one of that name."""
    from autoprune import registry
    from autoprune.api.devices import added

    if profiler:
        registry.known("profilers", profiler)
    device = added(name, address, profiler, threads, python, str(token_file.absolute()) if token_file else "")
    typer.echo(f"{device.name}: {device.address.url}; try it with `autoprune devices test {device.name}`", err=True)
    return 0


def listed(as_json: Annotated[bool, typer.Option("--json", help="The machine form.")] = False) -> int:
    """List the devices that have a name."""
    import json

    from autoprune.store.devices import Devices, devices_file

    known = {device.name: device.to_json() for device in Devices().all()}
    if as_json:
        typer.echo(json.dumps(known, indent=1))
        return 0
    for name, about in known.items():
        typer.echo(f"{name:{_WIDTH}}{'  '.join(f'{key}={value}' for key, value in about.items())}")
    if not known:
        typer.echo(f"no devices in {devices_file()}; add one with `autoprune devices add NAME ADDRESS`", err=True)
    return 0


def try_out(
    device: Annotated[str, typer.Argument(help="A name, or an address.")],
    profiler: Annotated[str, typer.Option(help="What runs models; default: the device's own, or torch.")] = "",
    seconds: Annotated[float, typer.Option(help="Of the self-test; 0: without it.")] = 5.0,
) -> int:
    """Reach a device, and see how repeatable it measures."""
    from autoprune.api.devices import examined

    for finding in examined(device, profiler, seconds):
        typer.echo(f"{finding.name:{_WIDTH}}{finding.value}{f' -> {finding.mend}' if finding.mend else ''}")
    return 0


def remove(name: Name) -> int:
    """Forget a device."""
    from autoprune.store.devices import Devices

    Devices().remove(name)
    return 0


def devices_app() -> typer.Typer:
    app = group_of_commands("The machines on which models are measured, by name.")
    for name, command in (("add", add), ("list", listed), ("test", try_out), ("remove", remove)):
        app.command(name)(command)
    return app
