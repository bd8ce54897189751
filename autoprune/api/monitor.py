"""`autoprune.monitor`: a finished model, watched in production. Knows runs and folders, and what of them is watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.calibration.baseline import Baseline, kept
from autoprune.core.budget import Budget
from autoprune.core.limit import Limit
from autoprune.core.metric import LATENCY, MetricKey
from autoprune.core.reporter import Logged, Reporter
from autoprune.engine.prepare import make_task
from autoprune.engine.result import model_folder
from autoprune.errors import StorageError, UsageError
from autoprune.monitoring.monitor import Drift, Monitor, Watch
from autoprune.store.reading import FRONT, read_front
from autoprune.tasks.task import Task


def monitor(
    model: nn.Module,
    run: str | PathLike[str],
    *,
    task: Task | str | None = None,
    budget: str | Sequence[str] = (),
    dense: nn.Module | None = None,
    dense_share: float = 0.01,
    share: float = 0.005,
    false_alarms: float = 1e-4,
    window: int = 256,
    log: str | PathLike[str] | None = None,
    every: float = 60.0,
    on_drift: Callable[[Drift], Any] | None = None,
    reporter: Reporter | None = None,
) -> Monitor:
    """Watch a finished model in production: whether its inputs and its confidence are as they were when it was made,
    how often it says what the dense model says, and how long it takes beside its budget.

    Args:
        model: As `load` or `load_exported` returned it.
        run: The run directory (its best model), or the folder of the model, with what it saw when it was made.
        task: Of a model that was made by an earlier version, which kept nothing: its splits are looked at now.
        budget: Limits on the latency such as "latency=5ms", for calls of any batch; by default those of the run, for
            calls of the batch that it measured.
        dense: The dense model, in eval mode, to be asked the same on a sample of calls, beside the service.
        dense_share: Of the model's time that the dense one may take.
        share: Of the model's time that looking may take; calls between are only timed. 0: nothing else is done.
        false_alarms: At most so many a window, on average over calibration splits, where samples are exchangeable.
        window: Samples looked at after which the test begins anew.
        log: A file of states, a line of JSON each; it rotates at 4 MiB, and four older ones are kept.
        every: Seconds between two lines; an alarm has one of its own.
        on_drift: Called with each alarm, which the reporter is told in any case.
        reporter: Default: the logger "autoprune".

    Returns:
        What is called in place of the model.

    Raises:
        UsageError: a share, a rate or a window out of range, or a limit on something else than the latency in seconds.
        StorageError: no finished model is there, or one that kept nothing, and no task is given.

    Example:
        >>> model = autoprune.monitor(autoprune.load(folder), folder, log="monitor.jsonl")  # doctest: +SKIP
        >>> model(images), model.state().drifting, model.serve(9464)  # doctest: +SKIP
    """
    _check(share=share, dense_share=dense_share)
    if not 0 < false_alarms < 1:
        raise UsageError(expected="false_alarms between 0 and 1", received=repr(false_alarms), cure="pass 1e-4")
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise UsageError(expected="a window of at least 1 sample", received=repr(window), cure="pass for example 256")
    told = reporter or Logged()
    folder, _ = model_folder(Path(run))
    baseline = kept(folder)
    if baseline is None and task is not None:
        baseline = Baseline.of(model, make_task(task, told))
    if baseline is None:
        raise StorageError(
            expected=f"what the model saw when it was made, in {folder}",
            received="none, as an earlier version made it",
            cure="pass task=, whose calibration split is looked at now",
        )
    limits, batch = _limits([budget] if isinstance(budget, str) else budget, folder.resolve().parent.parent)
    for note in baseline.notes:
        told.note(note)
    watch = Watch(limits=limits, batch=batch, share=share, rate=false_alarms, window=window, every=every)
    return Monitor(
        model,
        baseline,
        watch,
        reporter=told,
        dense=dense,
        dense_share=dense_share,
        log=None if log is None else Path(log),
        on_drift=on_drift,
    )


def _check(**shares: float) -> None:
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UsageError(
                expected=f"{name} as a share of the model's time", received=repr(value), cure="pass for example 0.005"
            )


def _limits(budget: Sequence[str], run: Path) -> tuple[tuple[tuple[Limit, float], ...], int]:
    """What is given, or else what the budget of a run allows here, in seconds, and the batch that it is about; nothing
    where a model's folder is not in a run any more."""
    if budget:
        return tuple((limit, _seconds(limit)) for limit in Budget.parse(*budget).limits), 0
    if not (run / FRONT).is_file():
        return (), 0
    front = read_front(run)
    dense = front["dense"]["metrics"]
    limits = [each for each in Budget.parse(*front["budget"]).limits if MetricKey.parse(each.metric) == LATENCY]
    bounds = [(each, each.bound(dense[each.key]["value"])) for each in limits if each.key in dense]
    return tuple(bounds), front["profiler"].get("batch", 0)


def _seconds(limit: Limit) -> float:
    if MetricKey.parse(limit.metric) != LATENCY or limit.basis != "absolute":
        raise UsageError(expected="limits on the latency in seconds", received=str(limit), cure="write latency=5ms")
    return limit.value
