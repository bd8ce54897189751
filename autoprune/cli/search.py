"""`autoprune search`: options in, a run directory and a table out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.core.defaults import CRITERION, EXECUTOR, REPAIR, SAMPLER
from autoprune.core.effort import Effort


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


def search(
    task: Annotated[str, typer.Argument(help="digits, file.py:callable or package.module:callable.")] = "digits",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit such as latency=5ms, latency=50%, params=1M, accuracy>=-1%, or latency@pi=20ms on a device "
            "that was added. May be repeated."
        ),
    ] = None,
    guarantee: Annotated[
        str,
        typer.Option(
            help="What a latency in seconds is held against: quiet, the device undisturbed; worst, its slow hours as "
            "far as they are known."
        ),
    ] = "quiet",
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric to trade off; default: the task's quality, and every limited cost or else latency. "
            "May be repeated."
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="Who proposes plans: auto, evolution, ddpg, nsga2 ...; `autoprune plugins` lists all.")
    ] = SAMPLER,
    sampler_option: Annotated[
        list[str] | None, typer.Option(help="An option of the sampler, such as warm=true. May be repeated.")
    ] = None,
    criterion: Annotated[
        str, typer.Option(help="Which slices go first: l2, taylor, hessian ...; `autoprune plugins` lists all.")
    ] = CRITERION,
    repair: Annotated[
        str,
        typer.Option(
            help="How a cut model is repaired before it is scored: none, bias, sequential ...; "
            "`autoprune plugins` lists all."
        ),
    ] = REPAIR,
    space: Annotated[
        str | None, typer.Option(help="A search space by name, or a YAML file; default: by the model's modules.")
    ] = None,
    profiler: Annotated[
        str,
        typer.Option(
            help="What runs and times models: torch, torch-compile, onnxruntime, openvino, executorch, cuda; "
            "default: the device's own, or torch."
        ),
    ] = "",
    device: Annotated[
        str,
        typer.Option(
            help="Where it is measured: local, a name from `autoprune devices list`, ssh://user@host, "
            "http://host:port, or a node that a cluster knows by that name."
        ),
    ] = "local",
    on_device_loss: Annotated[
        str, typer.Option(help="Where a device does not answer: wait for it, or fail the candidate and go on.")
    ] = "wait",
    batch: Annotated[int, typer.Option(help="Batch size whose latency counts; 0: the task's own.")] = 0,
    threads: Annotated[
        int | None, typer.Option(help="Processor threads while measuring; default: the device's own, or 1.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="What the profiler computes in: float32, bfloat16, float16.")
    ] = "float32",
    trials: Annotated[int, typer.Option(help="Candidates to evaluate.")] = Effort.trials,
    timeout: Annotated[
        str | None,
        typer.Option(help="How long to look for candidates, such as 10m; the forecast and finishing are extra."),
    ] = None,
    finetune_epochs: Annotated[int, typer.Option(help="Fine-tuning of each finished model.")] = Effort.epochs,
    finalists: Annotated[
        int, typer.Option(help="How many models of the front are finished at most.")
    ] = Effort.finalists,
    executor: Annotated[
        str, typer.Option(help="Where candidates are evaluated: inline, ray, ray-tune (fine-tuning by Ray Tune).")
    ] = EXECUTOR,
    workers: Annotated[int, typer.Option(help="Candidates evaluated at a time with ray; 0: one a core.")] = 0,
    address: Annotated[
        str, typer.Option(help="A Ray cluster to join: auto or HOST:PORT; default: a private one on this machine.")
    ] = "",
    gpus: Annotated[float, typer.Option(help="What each worker holds of a GPU, such as 0.5.")] = 0.0,
    dashboard: Annotated[bool, typer.Option(help="Ray's dashboard, in a private cluster.")] = False,
    storage: Annotated[
        str, typer.Option(help="URL of a database for the study; default: a journal in the run directory.")
    ] = "",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same proposals whenever the search is interrupted.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option(help="A new run directory; default: the next free one under runs/.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with these options.", is_eager=True, callback=_configured)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print front.json instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only warnings.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be searched, and stop.")] = False,
) -> int:
    """Search the pruned models that no other candidate beats, within a budget that is measured."""
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.cli.print_result import print_result
    from autoprune.core import quantity
    from autoprune.core.budget import Budget
    from autoprune.core.clock import SystemClock

    del config
    limits = Budget.parse(*(budget or ()), objectives=objective or ()).guaranteed(guarantee)
    seconds = quantity.seconds(timeout)
    reporter = ConsoleReporter(quiet, SystemClock())
    names: dict[str, Any] = {
        "sampler": sampler,
        "sampler_options": dict(_option(text) for text in sampler_option or ()),
        "criterion": criterion,
        "repair": repair,
        "space": space,
        "profiler": profiler,
        "device": device,
        "on_device_loss": on_device_loss,
        "threads": threads,
        "batch": batch,
        "precision": precision,
        "executor": executor,
        "workers": workers,
        "address": address,
        "gpus": gpus,
        "dashboard": dashboard,
        "storage": storage,
        "deterministic": deterministic,
        "seed": seed,
    }
    from autoprune.api.search import preview
    from autoprune.api.search import search as run_search

    if dry_run:
        with aside():
            effort = Effort(trials, seconds, finetune_epochs, finalists)
            found = preview(task, limits, effort, reporter=reporter, **names)
        typer.echo(json.dumps(found, indent=1) if as_json else _listed(found))
        return 0
    with aside():
        result = run_search(
            task,
            limits,
            trials=trials,
            timeout=seconds,
            epochs=finetune_epochs,
            finalists=finalists,
            run=run,
            reporter=reporter,
            **names,
        )
    return print_result(result, as_json)


def _option(text: str) -> tuple[str, str]:
    from autoprune.errors import UsageError

    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise UsageError(
            expected="--sampler-option NAME=VALUE", received=repr(text), cure="write for example warm=true"
        )
    return name.replace("-", "_"), value


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
