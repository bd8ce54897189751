"""`autoprune inspect`: the groups of a model: of a task, of a run's best, or of one in a folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.completion import subjects
from autoprune.errors import UsageError
from autoprune.options.defaults import CRITERION, PROFILER, REPAIR


def inspect(
    subject: Annotated[
        str,
        typer.Argument(
            help="A task, a run directory (its best model), or the folder of one model.", autocompletion=subjects
        ),
    ] = "digits",
    space: Annotated[str | None, typer.Option(help="A search space by name, or a YAML file.")] = None,
    freeze: Annotated[list[str] | None, typer.Option(help="As in a search. May be repeated.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="As in a search. May be repeated.")] = None,
    members: Annotated[bool, typer.Option("--members", help="Name every member instead of counting them.")] = False,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Cut each group alone, level by level: what it costs, what it saves."),
    ] = False,
    levels: Annotated[int, typer.Option(help="Of each group, with --sensitivity.")] = 4,
    picture: Annotated[Path, typer.Option(help="Where --sensitivity draws it.")] = Path("sensitivity.png"),
    criterion: Annotated[str, typer.Option(help="Which slices go first, with --sensitivity.")] = CRITERION,
    repair: Annotated[str, typer.Option(help="How a cut model is repaired, with --sensitivity.")] = REPAIR,
    profiler: Annotated[str, typer.Option(help="What times models, with --sensitivity.")] = PROFILER,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """List what may be cut: group, kind, size, step, members, share of parameters and operations, why it is frozen.

    The last line says how much of the model can be cut, and why the rest cannot. With --sensitivity: the quality, the
    loss and the latency of each group cut alone, as a table and as a picture.
    """
    from autoprune.search_spaces.locks import patterns

    locked = {"freeze": patterns(freeze, "freeze"), "only": patterns(only, "only")}
    folder = Path(subject) if Path(subject).is_dir() else None
    if sensitivity:
        if folder is not None:
            raise UsageError(
                expected="--sensitivity of a task", received=subject, cure="name the task, or leave out --sensitivity"
            )
        how = {"levels": levels, "criterion": criterion, "repair": repair, "profiler": profiler}
        _sensitivity(subject, picture, as_json, space=space, **locked, **how)
        return
    from autoprune.api.profile import find_subject
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.engine.prepare import inspected
    from autoprune.report.table import aligned
    from autoprune.surgery.example import Example

    with aside():
        found = find_subject(folder or subject, ConsoleReporter(False, SystemClock()))
        config, groups, coverage = inspected(found.model, Example.of(found.inputs, found.outputs), space, **locked)
    if as_json:
        document = {
            "family": config.name,
            "coverage": asdict(coverage),
            "groups": [asdict(group) for group in groups],
        }
        typer.echo(json.dumps(document, indent=1))
        return
    rows: list[list[Any]] = [["group", "kind", "size", "step", "tie", "members", "params", "flops", "frozen because"]]
    for group in sorted(groups, key=lambda group: bool(group.frozen_reason)):
        named = " ".join(map(str, group.members)) if members else str(len(group.members))
        rows.append(
            [
                group.name,
                group.kind,
                str(group.size),
                str(group.step),
                group.tie,
                named,
                f"{group.share_params:.1%}",
                f"{group.share_flops:.1%}",
                group.frozen_reason,
            ]
        )
    typer.echo(aligned(rows, right=range(2, 4)))
    typer.echo(f"search space '{config.name}': {coverage}")


def _sensitivity(task: str, picture: Path, as_json: bool, **names: Any) -> None:
    from autoprune.api.sensitivity import sensitivity
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.report.sensitivity import sensitivity_picture, sensitivity_table
    from autoprune.store.files import write_atomic

    reporter = ConsoleReporter(False, SystemClock())
    with aside():
        found = sensitivity(task, reporter=reporter, **names)
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else sensitivity_table(found))
    write_atomic(picture, sensitivity_picture(found))
    reporter.note(f"drawn in {picture}")
