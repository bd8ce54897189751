"""What each module costs in the dense model and in models of the front. Knows the forecast of a run, and what was
measured of whole models; no device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.core.forecast import CostForecast
from autoprune.core.plan import Plan
from autoprune.core.precision import counted
from autoprune.report.effects import variables
from autoprune.store.reading import RunRecord


def module_costs(record: RunRecord, points: Sequence[Mapping[str, Any]], dense: Mapping[str, Any]) -> dict[str, Any]:
    """By cost the names of modules, what each costs in the dense model, and by trial what it costs in that one.

    Modules of one model are stretched by one factor, so that with what belongs to none (the last number of each list)
    they add up to what was measured of it. Empty where the forecast does not know what is whose.

    Args:
        record: Of a run.
        points: Of its front, each with the metrics and the number of its trial.
        dense: The dense model's metrics.
    """
    costs = [each for each in record.forecast.costs if each.modules] if record.forecast else []
    if not costs:
        return {}
    space = record.recipe["search_space"]
    levels, bundles = space["levels"], variables(space)
    places = {}
    for point in points:
        trial = record.trials.get(point["trial"]) or record.finished[point["trial"]]
        kept = counted(Plan.from_json(trial["plan"], trial.get("precision", "")))
        places[point["trial"]] = [levels[names[0]].index(kept[names[0]]) for names in bundles]
    whole = [len(levels[names[0]]) - 1 for names in bundles]
    return {
        cost.metric: {
            "names": [each.name for each in cost.modules],
            "error": cost.error,
            "dense": _stretched(cost, whole, dense),
            "models": {point["trial"]: _stretched(cost, places[point["trial"]], point["metrics"]) for point in points},
        }
        for cost in costs
    }


def _stretched(cost: CostForecast, levels: Sequence[int], measured: Mapping[str, Any]) -> list[float]:
    total = cost.at(levels)
    factor = measured[cost.metric]["value"] / total if cost.metric in measured and total > 0 else 1.0
    own = [each.at(levels) for each in cost.modules]
    return [float(f"{factor * each:.4g}") for each in (*own, total - sum(own))]
