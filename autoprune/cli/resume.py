"""`autoprune resume` and `autoprune finetune`: go on with a run that was begun earlier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from autoprune.engine.result import Result

Run = Annotated[Path, typer.Argument(help="The run directory of an earlier search.")]
Finalists = Annotated[int | None, typer.Option(help="How many models of the front are finished at most.")]
Executor = Annotated[str | None, typer.Option(help="Where candidates are evaluated: inline, ray, ray-tune.")]
Workers = Annotated[int | None, typer.Option(help="Candidates evaluated at a time with ray; 0: one a core.")]
Address = Annotated[str | None, typer.Option(help="A Ray cluster to join: auto or HOST:PORT.")]
Gpus = Annotated[float | None, typer.Option(help="What each worker holds of a GPU, such as 0.5.")]
Storage = Annotated[str | None, typer.Option(help="URL of the study's database, where its password is needed.")]
Loss = Annotated[str | None, typer.Option(help="Where a device does not answer: wait for it, or fail the candidate.")]
Json = Annotated[bool, typer.Option("--json", help="Print front.json instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.")]


def resume(
    run: Run,
    trials: Annotated[int | None, typer.Option(help="Candidates to evaluate in all; default: as begun.")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="When to stop looking for candidates, from now, such as 10m; default: as begun.")
    ] = None,
    finetune_epochs: Annotated[int | None, typer.Option(help="Fine-tuning of each finished model.")] = None,
    finalists: Finalists = None,
    executor: Executor = None,
    workers: Workers = None,
    address: Address = None,
    gpus: Gpus = None,
    storage: Storage = None,
    on_device_loss: Loss = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Go on with a search where it was when it ended, however it ended."""
    from autoprune.api.resume import resume as go_on
    from autoprune.core import quantity

    seconds = quantity.seconds(timeout)
    what = {"trials": trials, "timeout": seconds, "epochs": finetune_epochs, "finalists": finalists}
    where = {"executor": executor, "workers": workers, "address": address, "gpus": gpus}
    return _done(go_on, run, as_json, quiet, **what, **where, storage=storage, on_device_loss=on_device_loss)


def finetune(
    run: Run,
    finetune_epochs: Annotated[int, typer.Option(help="Epochs of each finished model.")],
    finalists: Finalists = None,
    executor: Executor = None,
    workers: Workers = None,
    address: Address = None,
    gpus: Gpus = None,
    storage: Storage = None,
    on_device_loss: Loss = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Choose and fine-tune the best candidates of a run once more; no new ones are proposed."""
    from autoprune.api.resume import finetune as train

    what = {"epochs": finetune_epochs, "finalists": finalists, "storage": storage, "on_device_loss": on_device_loss}
    return _done(train, run, as_json, quiet, **what, executor=executor, workers=workers, address=address, gpus=gpus)


def _done(go_on: Callable[..., Result], run: Path, as_json: bool, quiet: bool, **asked: Any) -> int:
    """Go on with a run as it is asked for, and tell how it ended."""
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.cli.print_result import print_result
    from autoprune.core.clock import SystemClock

    with aside():
        result = go_on(run, reporter=ConsoleReporter(quiet, SystemClock()), **asked)
    return print_result(result, as_json)
