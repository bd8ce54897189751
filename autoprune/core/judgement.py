"""Measurements held against a budget. Knows records only; not how anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoprune.core.budget import Budget
from autoprune.core.measurement import Measurement
from autoprune.core.trial import Trial, TrialState


def excesses(budget: Budget, measured: Mapping[str, Measurement], dense: Mapping[str, Measurement]) -> dict[str, float]:
    """How far each limit is broken, by key; <= 0 is met.

    A measured cost is held against its limit by the worse end of its interval. A share of the dense model's latency is
    compared as the paired ratio, which knows better than two latencies. A quality counts by its value: dense and pruned
    are scored on the same samples, so their intervals do not add.
    """
    intervals: dict[str, tuple[float, float]] = {}
    for limit in budget.limits:
        found = measured[limit.key]
        relative = measured.get(limit.relative_key)
        if not limit.is_cost:
            intervals[limit.key] = (found.value, found.value)
        elif limit.basis == "share" and relative is not None:
            whole = dense[limit.key].value
            intervals[limit.key] = (relative.low * whole, relative.high * whole)
        else:
            intervals[limit.key] = (found.low, found.high)
    return budget.excesses(intervals, {limit.key: dense[limit.key].value for limit in budget.limits})


def judged(trial: Trial, budget: Budget, dense: Mapping[str, Measurement]) -> Trial:
    """A trial held against every limit, of qualities too, as it is; one that was not evaluated is left as it was."""
    if trial.state is not TrialState.COMPLETE:
        return trial
    return replace(trial, excesses=excesses(budget, trial.measurements, dense))
