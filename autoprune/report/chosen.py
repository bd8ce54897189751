"""The best of a front, chosen again under other limits or by another preference. Knows front.json only: no search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.core.budget import Budget
from autoprune.core.judgement import excesses
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, cost
from autoprune.core.preference import Preference
from autoprune.errors import BudgetInfeasibleError, StorageError, UsageError
from autoprune.report.document import uncertain
from autoprune.report.table import closest


def chosen_again(front: Mapping[str, Any], within: Sequence[str] = (), prefer: str = "") -> dict[str, Any]:
    """The document of a front as it would be under other limits, or by another preference.

    Args:
        front: The content of `front.json`.
        within: Limits; each takes the place of those of the run on the same metric.
        prefer: A `Preference`; empty for the run's own.

    Returns:
        The document with its budget, its preference, and of each model whether it is within; scores on the test split
        stay where the best does.

    Raises:
        UsageError: a limit on what no model of the front was measured for, or weights of other metrics.
        BudgetInfeasibleError: no model of the front is within the limits.
        StorageError: the front is of a version that did not tell which way its qualities are better.
    """
    asked = Budget.parse(*within)
    kept = [limit for limit in Budget.parse(*front["budget"]).limits if limit.key not in {a.key for a in asked.limits}]
    qualities = [Metric.quality_from_json(name, each) for name, each in front.get("qualities", {}).items()]
    budget = Budget((*kept, *asked.read_for(qualities).limits))
    preference = Preference(prefer or front.get("prefer", ""))
    preference.check(front["objectives"])
    dense, points = _measured(front["dense"]), [_measured(point) for point in front["front"]]
    known = set(dense).intersection(*points)
    if strange := [limit.key for limit in budget.limits if limit.key not in known]:
        raise UsageError(
            expected=f"limits on what this front was measured for: {', '.join(sorted(known))}",
            received=strange[0],
            cure="search with that limit",
        )
    within_all = [all(excess <= 0 for excess in excesses(budget, each, dense).values()) for each in points]
    feasible = [place for place, good in enumerate(within_all) if good]
    if not feasible:
        raise BudgetInfeasibleError(
            expected=" and ".join(limit.meaning() for limit in budget.limits) or "a model",
            received=f"none in this front; {closest(front, budget)}",
            cure="raise the limit, or search with it",
        )
    objectives = [_objective(name, qualities) for name in front["objectives"]]
    values = [[points[place][metric.name].value for metric in objectives] for place in feasible]
    place = preference.best(values, objectives, {metric.name: dense[metric.name].value for metric in objectives})
    best = front["front"][feasible[place]]["trial"]
    return {
        **front,
        "budget": [str(limit) for limit in budget.limits],
        "prefer": preference.text,
        "front": [
            {**point, "feasible": good, "uncertain": uncertain(each, good, budget, dense)}
            for point, each, good in zip(front["front"], points, within_all, strict=True)
        ],
        "best": best,
        "test": {name: each for name, each in front["test"].items() if name != "best" or best == front["best"]},
    }


def _measured(point: Mapping[str, Any]) -> dict[str, Measurement]:
    return {key: Measurement.from_json(key, raw) for key, raw in point["metrics"].items()}


def _objective(name: str, qualities: Sequence[Metric]) -> Metric:
    found = cost(name) or next((metric for metric in qualities if metric.name == name), None)
    if found is None:
        raise StorageError(
            expected=f"a front that tells which way {name} is better",
            received="one of an earlier version",
            cure="take a model from its table, or search anew",
        )
    return found
