"""`autoprune profile`: what a model costs on this device, and where."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.completion import subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoprune.api.hardware_counters import HardwareCounters
    from autoprune.api.layer_profile import LayerProfile
    from autoprune.core.measurement import Measurement
    from autoprune.cost_model.latency_forecast import Tabulated
    from autoprune.cost_model.staircase import Staircase
    from autoprune.measure.scaling import Scaled


def profile(
    subject: Annotated[
        str,
        typer.Argument(
            help="A task, a run directory (its best model), or the folder of one model.", autocompletion=subjects
        ),
    ] = "digits",
    profiler: Annotated[str | None, typer.Option(help="What measures; default: that of the run, else torch.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch size; default: the run's, else the task's own.")] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            help="Processor threads; default: those of the run, else 1. Several, as in 1,2,4: what more are worth."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16, int8; default: as the run.")
    ] = None,
    meter: Annotated[str, typer.Option(help="What counts energy: cpu, nvidia, jetson, script:PROGRAM.")] = "",
    rate: Annotated[
        list[str] | None, typer.Option(help="carbon=350g/kWh, price=0.12/h or price=0.30/kWh. May be repeated.")
    ] = None,
    by_layer: Annotated[bool, typer.Option("--by-layer", help="Time, operations and bytes of each module.")] = False,
    counters: Annotated[
        bool, typer.Option("--counters", help="Instructions per cycle and cache misses, where the kernel counts them.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Build the device's latency table for the task, and find its staircase.")
    ] = False,
    space: Annotated[str | None, typer.Option(help="Of --table: a search space by name, or a YAML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure latency, throughput, memory, energy where metered, parameters, operations and size of a model."""
    from autoprune.api.profile import find_subject
    from autoprune.api.profile import profile as measure
    from autoprune.cli.console import ConsoleReporter, aside
    from autoprune.core.clock import SystemClock
    from autoprune.core.measurement import RunSpec
    from autoprune.errors import UsageError
    from autoprune.report.document import metrics

    reporter, counts = ConsoleReporter(False, SystemClock()), _counts(threads)
    kinds = {"--threads": len(counts) > 1, "--by-layer": by_layer, "--counters": counters, "--table": table}
    if len(asked := [name for name, wanted in kinds.items() if wanted]) > 1:
        raise UsageError(expected="one profile at a time", received=" and ".join(asked), cure="leave out one of them")
    if table and Path(subject).is_dir():
        raise UsageError(expected="--table of a task", received=subject, cure="name the task")
    with aside():
        found = find_subject(Path(subject) if Path(subject).is_dir() else subject, reporter)
    given = {"profiler": profiler, "threads": counts[0] if counts else None, "batch": batch, "precision": precision}
    usual = {"profiler": "torch", "threads": 1, "batch": 0, "precision": "float32"}
    how: dict[str, Any] = {**usual, **found.measured, **{key: each for key, each in given.items() if each is not None}}
    spec = RunSpec(how["threads"], how["batch"], how["precision"])
    if counters:
        from autoprune.api.hardware_counters import hardware_counters

        with aside():
            counted = hardware_counters(found, how["profiler"], spec)
        typer.echo(json.dumps(asdict(counted), indent=1) if as_json else _counters(counted))
    elif len(counts) > 1:
        from autoprune.api.scaling import scaling

        how.pop("threads")
        with aside():
            scaled = scaling(found, counts, reporter=reporter, **how)
        typer.echo(json.dumps([asdict(each) for each in scaled], indent=1) if as_json else _scaled(scaled))
    elif by_layer:
        from autoprune.api.layer_profile import by_layer as dissect

        with aside():
            layer_profile = dissect(found, how["profiler"], spec, reporter)
        typer.echo(json.dumps(asdict(layer_profile), indent=1) if as_json else _layers(layer_profile))
    elif table:
        from autoprune.api.layer_profile import latency_table

        with aside():
            built, stairs = latency_table(subject, how["profiler"], spec, space, reporter)
        typer.echo(json.dumps(_tabulated(built, stairs), indent=1) if as_json else _table(built, stairs))
    else:
        with aside():
            more: dict[str, Any] = {"meter": meter, "rates": rate or (), "reporter": reporter}
            measured = measure(found.model, found.inputs, task=found.task, **more, **how)
        typer.echo(json.dumps(metrics(measured), indent=1) if as_json else _costs(measured))


def _counts(threads: str | None) -> list[int]:
    """Counts of threads as they are written, `2` or `1,2,4`."""
    from autoprune.errors import UsageError

    try:
        return [int(each) for each in threads.split(",")] if threads is not None else []
    except ValueError as error:
        raise UsageError(
            expected="a count of threads, or several", received=repr(threads), cure="write for example 2, or 1,2,4"
        ) from error


def _counters(found: HardwareCounters) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["of one run", ""]]
    rows += [[name.replace("_", " "), quantity.show(each, "1")] for name, each in asdict(found).items()]
    rows += [["instructions per cycle", f"{found.instructions_per_cycle:.2f}"]]
    rows += [["of references miss", f"{found.miss_rate:.1%}"]]
    return aligned(rows, right=[1])


def _scaled(found: Sequence[Scaled]) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["threads", "latency", "speedup", "efficiency", ""]]
    for each in found:
        time, speedup, efficiency = each.latency, each.speedup, each.efficiency
        rows.append(
            [
                str(each.threads),
                quantity.show_interval(time.value, time.low, time.high, "s"),
                f"{speedup.value:.2f} [{speedup.low:.2f}, {speedup.high:.2f}]",
                f"{efficiency.value:.0%} [{efficiency.low:.0%}, {efficiency.high:.0%}]",
                "" if each.calm else "uncertain: other work had the processors most of the time",
            ]
        )
    return aligned(rows, right=range(4))


def _costs(found: dict[str, Measurement]) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["metric", "value", "95 % interval", ""]]
    for key, measured in found.items():
        low, high = quantity.show(measured.low, measured.unit), quantity.show(measured.high, measured.unit)
        span = "exact" if measured.low == measured.high else f"{low} to {high}"
        doubt = "" if measured.valid and measured.converged else f"uncertain: {measured.note}"
        rows.append([key, quantity.show(measured.value, measured.unit), span, doubt])
    return aligned(rows, right=range(1, 3))


def _layers(layer_profile: LayerProfile) -> str:
    from autoprune.core import quantity
    from autoprune.report.table import aligned

    rows = [["layer", "time", "share", "operations", "moved", "op/s", "B/s", "op/B", "of the roof"]]
    for layer in layer_profile.layers:
        rows.append(
            [
                layer.name or "(the model itself)",
                quantity.show(layer.seconds, "s"),
                f"{layer.share:.1%}",
                quantity.show(layer.flops, "1"),
                quantity.show(layer.moved, "B"),
                *_rates(layer.flops, layer.moved, layer.seconds),
                f"{layer.intensity:.1f}",
                f"{layer.roofline:.0%}",
            ]
        )
    whole, roof = layer_profile.latency, layer_profile.roof
    flops, moved = (sum(getattr(layer, name) for layer in layer_profile.layers) for name in ("flops", "moved"))
    achieved = " operations/s, ".join(_rates(flops, moved, whole.value))
    doubt = "" if roof.calm else " or more: other work had the processors, and it is not kept"
    return (
        f"{aligned(rows, right=range(1, 9))}\n"
        f"whole model: {quantity.show_interval(whole.value, whole.low, whole.high, 's')}; "
        "layers are measured alone and scaled to it\n"
        f"achieved by the whole model: {achieved}/s\n"
        f"roof of the device: {' operations/s, '.join(_rates(roof.flops, roof.bandwidth, 1.0))}/s{doubt}"
    )


def _rates(flops: float, moved: float, seconds: float) -> tuple[str, str]:
    """Operations and bytes a second; nothing of what takes no time."""
    from autoprune.core import quantity

    if not seconds:
        return "", ""
    return quantity.show(flops / seconds, "1"), quantity.show(moved / seconds, "B")


def _table(built: Tabulated, stairs: tuple[Staircase, ...]) -> str:
    from autoprune.report.table import aligned

    calibration = built.calibration
    text = (
        f"{built.measured} units measured, {built.known} known before, in {built.seconds:.0f} s; sums of units x "
        f"{calibration.scale:.2f} predict whole models within {calibration.error:.1%} (standard deviation, "
        f"{calibration.count} models, each left out in turn)"
    )
    if not stairs:
        return f"{text}\nno group is wide enough to sweep"
    rows = [["group", "kind", "counts swept", "latency steps at", "a step saves"]]
    for stair in stairs:
        steps = f"multiples of {stair.multiple}" if stair.multiple > 1 else "every count"
        swept = f"{stair.counts[0]} to {stair.counts[-1]}"
        rows.append([stair.group, stair.kind, swept, steps, f"{stair.saving:.1%} of its layer"])
    proposed = {
        kind: max(s.multiple for s in stairs if s.kind == kind) for kind in dict.fromkeys(s.kind for s in stairs)
    }
    shown = ", ".join(f"{kind}: {multiple}" for kind, multiple in proposed.items())
    return f"{text}\n{aligned(rows)}\nproposed for the search space: step: {{{shown}}}"


def _tabulated(built: Tabulated, stairs: tuple[Staircase, ...]) -> dict[str, Any]:
    return {
        "measured": built.measured,
        "known": built.known,
        "seconds": built.seconds,
        "calibration": asdict(built.calibration),
        "staircases": [asdict(stair) for stair in stairs],
    }
