"""`autoprune doctor`: is this machine fit to measure?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(
    profiler: Annotated[str, typer.Option(help="What the self-test runs.")] = "torch",
    seconds: Annotated[float, typer.Option(help="Of the self-test; 0: without it.")] = 10.0,
    address: Annotated[
        str, typer.Option(help="A Ray cluster whose door is tried, HOST:PORT; default: that of this machine, if any.")
    ] = "",
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget what earlier searches saw of this device's slow hours.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> int:
    """Check what disturbs measurements, which runtimes are here, and how small a difference this machine can tell.

    Exit code 0 if all is as it should be, 5 with what to mend.
    """
    from autoprune.api.doctor import doctor as examine
    from autoprune.errors import DeviceError
    from autoprune.report.table import aligned

    found = examine(profiler, seconds, address, forget=forget)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=1))
    else:
        typer.echo(aligned([[each.name, each.value] for each in found]))
    wrong = [each for each in found if each.mend]
    if wrong:
        raise DeviceError(
            expected="a machine fit to measure",
            received=f"{len(wrong)} things to mend ({', '.join(each.name for each in wrong)})",
            cure="; ".join(each.mend for each in wrong),
        )
    return 0
