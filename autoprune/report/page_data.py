"""A run as the page of a report wants it: columns of short numbers. Knows records; not how they are drawn.

Trials are columns, not objects, so that ten thousand of them stay a few megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoprune.core.budget import Budget
from autoprune.core.front import Front
from autoprune.core.metric import RELATIVE, Metric, MetricKey, cost
from autoprune.core.trial import Trial, TrialState
from autoprune.report.effects import effects
from autoprune.report.facts import commands, facts, stages
from autoprune.report.importance import importance
from autoprune.report.module_costs import module_costs
from autoprune.report.proposers import proposer, proposers
from autoprune.report.table import shown_keys
from autoprune.report.verdict import verdict
from autoprune.store.reading import RunRecord

#: Points of a line over time at most.
_POINTS: Final = 1000


def page_data(record: RunRecord) -> dict[str, Any]:
    """All that the page shows of one run."""
    recipe, front = record.recipe, record.front
    dense = front["dense"]["metrics"] if front else record.dense
    budget, objectives = Budget.parse(*recipe["budget"]), list(recipe["objectives"])
    keys = shown_keys({**record.dense, **dense}, budget, objectives)
    points = list(front["front"]) if front else _front_so_far(record, objectives)
    who = proposers(record)
    return {
        "name": record.path.resolve().name,
        "task": recipe["task"],
        "said": verdict(record),
        "axes": _axes(keys, objectives),
        "metrics": {key: _about(key, {**record.dense, **dense}) for key in keys},
        "limits": [
            {
                "key": limit.key,
                "text": str(limit),
                "relation": limit.relation,
                "bound": limit.bound(dense[limit.key]["value"]),
            }
            for limit in budget.limits
            if limit.key in dense
        ],
        "dense": _numbers(dense, keys),
        "dense_searched": _numbers(record.dense, keys),
        "trials": {
            **_columns(list(record.trials.values()), keys),
            "proposer": _places([proposer(record, each) for each in record.trials.values()], who),
        },
        "front": [_point(record, point, keys, best=front["best"] if front else None) for point in points],
        "bundles": [
            {"name": each["name"], "told": each["told"], "metrics": _numbers(each["metrics"], keys)}
            for each in record.bundles
        ],
        "groups": _groups(record),
        "effects": effects(record),
        "module_costs": module_costs(record, points, dense),
        "importance": importance(record),
        "proposers": who,
        "training": _training(record, objectives),
        "progress": _progress(record),
        "stages": stages(record),
        "coverage": record.subject.get("coverage", {}).get("told", ""),
        "facts": facts(record),
        "commands": commands(record),
    }


def _axes(keys: Sequence[str], objectives: Sequence[str]) -> dict[str, str]:
    """What is drawn against what at first: the first quality against the first cost."""
    costs = [key for key in objectives if cost(key) is not None]
    qualities = [key for key in objectives if cost(key) is None] or [key for key in keys if cost(key) is None]
    across = costs[0] if costs else next((key for key in ("latency", "params") if key in keys), objectives[-1])
    return {"x": across, "y": qualities[0] if qualities else objectives[0]}


def _about(key: str, dense: Mapping[str, Any]) -> dict[str, Any]:
    of = MetricKey.parse(key)
    return {"unit": "%" if of.here == RELATIVE else dense[key]["unit"], "quality": of.cost is None}


def _numbers(metrics: Mapping[str, Any], keys: Sequence[str]) -> dict[str, list[Any]]:
    """By key the value and its interval, and at last whether it is doubtful, where it is."""
    return {
        key: [*(_short(found[name]) for name in ("value", "low", "high")), *([] if found.get("valid", True) else [1])]
        for key in keys
        if (found := metrics.get(key)) is not None
    }


def _short(value: float) -> float:
    """Five digits: no interval is narrower."""
    return float(f"{value:.5g}")


def _columns(trials: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Every trial of the search, one row of each column."""

    def column(key: str, name: str) -> list[float | None]:
        return [_short(each["metrics"][key][name]) if key in each["metrics"] else None for each in trials]

    measured: dict[str, list[list[float | None]]] = {}
    for key in keys:
        value, low, high = (column(key, name) for name in ("value", "low", "high"))
        measured[key] = [value] if value == low == high else [value, low, high]
    names = sorted({name for each in trials for name in each["plan"]})
    return {
        "number": [each["trial"] for each in trials],
        "state": [each["state"][0] for each in trials],
        "feasible": [int(each["feasible"]) for each in trials],
        "metrics": measured,
        "plan": {name: [each["plan"].get(name) for each in trials] for name in names},
        "errors": {each["trial"]: each["error"] for each in trials if each.get("error")},
    }


def _places(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The row of each name."""
    place = {row["name"]: number for number, row in enumerate(rows)}
    return [place[name] for name in names]


def _point(record: RunRecord, point: Mapping[str, Any], keys: Sequence[str], best: int | None) -> dict[str, Any]:
    trial = point["trial"]
    known = record.finished.get(trial) or record.trials.get(trial) or {"plan": {}}
    return {
        "trial": trial,
        "feasible": point["feasible"],
        "uncertain": point.get("uncertain", False),
        "best": trial == best,
        "finished": record.has_finished_models,
        "metrics": _numbers(point["metrics"], keys),
        "plan": known["plan"],
    }


def _front_so_far(record: RunRecord, objectives: Sequence[str]) -> list[dict[str, Any]]:
    """The candidates that no other one beats, where nothing is finished yet; none where nobody knows what is better."""
    metrics = [_metric(name, record) for name in objectives]
    told = [Trial.from_json(each) for each in record.trials.values() if each["state"] == TrialState.COMPLETE]
    if None in metrics:
        return []
    return [
        {"trial": each.number, "feasible": each.feasible, "metrics": record.trials[each.number]["metrics"]}
        for each in Front.of(told, [each for each in metrics if each is not None]).trials
    ]


def _metric(name: str, record: RunRecord) -> Metric | None:
    known, own = cost(name), record.subject.get("qualities", {}).get(name)
    return known or (Metric.quality_from_json(name, own) if own else None)


def _groups(record: RunRecord) -> list[dict[str, Any]]:
    """The groups in the order of the model, each layer that may go before what lies in it."""
    levels = record.recipe.get("search_space", {}).get("levels", {})
    known = record.subject.get("groups")
    if known is None:
        known = [
            {"name": name, "kind": "", "size": max(counts), "frozen_reason": ""} for name, counts in levels.items()
        ]
    layers = [each for each in known if each["kind"] == "layer" and not each["frozen_reason"]]
    ordered: list[dict[str, Any]] = []
    for group in (*(each for each in known if each not in layers), *layers):
        around = [each for each in layers if _inside(group, each)]
        new = [each for each in (*around, group) if each["name"] not in {one["name"] for one in ordered}]
        ordered += [{**each, "layer": _innermost(each, layers)} for each in new]
    return ordered


def _innermost(group: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> str:
    """The layer that a group lies in; empty for none."""
    return max((each["name"] for each in layers if _inside(group, each)), key=len, default="")


def _inside(group: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    return str(group["name"]).startswith(f"{layer['name']}.")


def _training(record: RunRecord, objectives: Sequence[str]) -> dict[str, Any]:
    """By trial its epochs: number, training loss, quality on the search split where it was scored.

    Of a trial that was trained by several recipes, those of the one that its model is of.
    """
    quality = next((name for name in objectives if cost(name) is None), None)
    epochs: dict[int, dict[int, list[Any]]] = {}
    recipes = {each["trial"]: each["recipe"] for each in record.events if each["event"] == "recipe"}
    for each in record.events:
        if each["event"] == "epoch" and each.get("recipe", "") == recipes.get(each["trial"], ""):
            scored = each.get(quality) if quality else None
            epochs.setdefault(each["trial"], {})[each["epoch"]] = [each["epoch"], each.get("training_loss"), scored]
    return {"quality": quality, "epochs": {trial: [*rows.values()] for trial, rows in epochs.items()}}


def _progress(record: RunRecord) -> list[list[Any]]:
    """Seconds, candidates, volume and trial as they were told; of very many, as many as are drawn."""
    told = [
        [round(each["seconds"], 1), each["trials"], each["hypervolume"], each.get("trial")]
        for each in record.events
        if each["event"] == "trial" and "hypervolume" in each
    ]
    step = math.ceil(len(told) / _POINTS) or 1
    return [row for place, row in enumerate(told) if place % step == 0 or place == len(told) - 1]
