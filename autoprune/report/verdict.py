"""What a run comes to, in sentences that need no other: what is best, why, what was cut, and how certain that is. Knows
records and front.json; draws nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.core.metric import RELATIVE, MetricKey
from autoprune.report.table import closest
from autoprune.store.reading import RunRecord

Said = tuple[str, str]


def verdict(record: RunRecord) -> list[Said]:
    """Pairs of a question and its answer; the first is the news."""
    front = record.front
    if front is None:
        counted = len([each for each in record.trials.values() if each.get("state") == "complete"])
        begun = f"{counted} candidates are evaluated, no model is finished yet"
        return [("State", f"{begun}; what is shown is of candidates before fine-tuning")]
    best = next((point for point in front["front"] if point["trial"] == front["best"]), None)
    budget = Budget.parse(*front["budget"])
    said = [("Stopped early", "the search was stopped: its models are as repaired")] if front["partial"] else []
    if best is None:
        asked = " and ".join(limit.meaning() for limit in budget.limits) or "to finish a model"
        return [*said, ("Nothing met the budget", f"asked for: {asked}; {closest(front, budget)}")]
    return [
        *said,
        ("Best", f"trial {best['trial']}: {_best_in(front, best)}"),
        ("Within the budget", "; ".join(_held(budget, best["metrics"])) or "there is none"),
        ("Smaller", _smaller(front["dense"]["metrics"], best["metrics"])),
        ("Cut", _cut(record, best["trial"])),
        *([("Certain?", "; ".join(certain))] if (certain := [*_certain(front, best, budget)]) else []),
    ]


def _best_in(front: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """By what it is the best."""
    first, others = front["objectives"][0], len(front["front"])
    own, dense = best["metrics"][first], front["dense"]["metrics"].get(first)
    where = f" on the {own['split']} split" if own.get("split") else ""
    beside = f", dense {_number(dense)}" if dense else ""
    kind, more = ("candidate", ", not fine-tuned,") if front["partial"] else ("finished model", "")
    among = f"of {others} {kind}s{more} the best" if others > 1 else f"the one {kind}{more}"
    by = f"by preference {front['prefer']}; {first}" if front.get("prefer") else f"in {first},"
    return f"{among} within the budget {by} {_interval(own)}{where}{beside}"


def _held(budget: Budget, metrics: Mapping[str, Any]) -> Iterator[str]:
    for limit in budget.limits:
        if limit.key in metrics:
            yield f"asked {limit.meaning()}, it has {_interval(metrics[limit.key])}"


def _smaller(dense: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    shares = [
        f"{metrics[key]['value'] / dense[key]['value']:.0%} of the {name}"
        for key, name in (("params", "parameters"), ("flops", "operations"), ("size", "bytes"))
        if key in metrics and dense.get(key, {}).get("value")
    ]
    paired = [(of, metrics[key]) for key in metrics if (of := MetricKey.parse(key)).here == RELATIVE and not of.device]
    timed = [f"{found['value']:.0%} of the dense model's {of.metric}, measured in pairs" for of, found in paired]
    return ", ".join([*timed, *shares])


def _cut(record: RunRecord, trial: int) -> str:
    """How many groups of which kinds are cut."""
    plan = (record.finished.get(trial) or record.trials.get(trial) or {}).get("plan", {})
    groups = [each for each in record.subject.get("groups", ()) if not each["frozen_reason"]]
    if not groups:
        return f"{len(plan)} groups are open"
    kept = {each["name"]: plan.get(each["name"], each["size"]) for each in groups}
    widths = [each for each in groups if each["kind"] != "layer"]
    layers = [each for each in groups if each["kind"] == "layer"]
    said = f"{sum(kept[each['name']] < each['size'] for each in widths)} of {len(widths)} groups of slices are narrower"
    if layers:
        said += f", {sum(not kept[each['name']] for each in layers)} of {len(layers)} layers that may go are dropped"
    return said


def _certain(front: Mapping[str, Any], best: Mapping[str, Any], budget: Budget) -> Iterator[str]:
    """What of it holds beyond chance, and what was measured of it alone."""
    measured = [key for key, found in best["metrics"].items() if found["low"] != found["high"]]
    costs = [key for key in measured if MetricKey.parse(key).cost is not None]
    if limited := [limit.key for limit in budget.limits if limit.key in costs]:
        yield f"the worse end of its 95 % interval of {' and '.join(limited)} is within the budget"
    disturbed = dict.fromkeys(
        MetricKey.parse(key).metric for key in costs if not best["metrics"][key].get("valid", True)
    )
    if disturbed:
        yield f"other work disturbed the measurement of {' and '.join(disturbed)}"
    scores: Mapping[str, Any] = front["test"]
    if "best" not in scores:
        return
    name = next(iter(scores["best"]))
    own, dense = scores["best"][name], scores["dense"][name]
    split = f"the {own['n']} samples of the test split" if own["n"] > 1 else "the test split"
    yield f"{name} on {split} {_interval(own)}, dense {_interval(dense)}"


def _interval(found: Mapping[str, Any]) -> str:
    return quantity.show_interval(found["value"], found["low"], found["high"], found["unit"])


def _number(found: Mapping[str, Any]) -> str:
    return quantity.show(found["value"], found["unit"])


def warnings(records: Sequence[RunRecord]) -> list[str]:
    """What several runs do not share, so that their numbers on one pair of axes mean different things."""
    told = []
    kinds = {"tasks": _task, "qualities": _qualities, "models": _model, "devices": _device, "settings": _settings}
    for name, of in kinds.items():
        found = list(dict.fromkeys(filter(None, map(of, records))))
        if len(found) > 1:
            told.append(f"these runs are of different {name} ({', '.join(found)}): their numbers are not of one kind")
    return told


def _task(record: RunRecord) -> str:
    return str(record.recipe.get("task", ""))


def _qualities(record: RunRecord) -> str:
    return " and ".join(key for key, found in record.dense.items() if found.get("split"))


def _model(record: RunRecord) -> str:
    return str(record.recipe.get("model", ""))


def _device(record: RunRecord) -> str:
    return str(record.recipe.get("device_fingerprint", ""))


def _settings(record: RunRecord) -> str:
    """How models were run where it was measured."""
    used = record.front["profiler"] if record.front else {}
    return " ".join(f"{name} {used[name]}" for name in ("batch", "threads", "precision") if name in used)
