"""A front as a table of text. Knows front.json only, so that any finished run can be shown."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.core.markup import table_html
from autoprune.core.metric import COUNTED, LATENCY, NONZEROS, RELATIVE, SLOW_HOURS, MetricKey

#: Numbers that are not zero are told where they were asked for: else they are nearly those of all.
_COLUMNS: Final = (LATENCY, SLOW_HOURS, RELATIVE, *(MetricKey(name) for name in COUNTED if name != NONZEROS))
#: Stages that took less are not told.
_TOLD_S: Final = 0.5
#: How columns are headed, where not as their metric is called.
_HEADS: Final = {RELATIVE: "of dense", SLOW_HOURS: "slow hours"}


#: What the marks of a table say.
_MARKS: Final = {
    "*": "best",
    "!": "beyond the budget",
    "+": "a bundle, whose latency is the mean over requests",
    "~": "uncertain: its interval reaches beyond the budget, or other work had the processor; measure again when quiet",
}


def front_table(front: Mapping[str, Any], bundles: Sequence[Mapping[str, Any]] = ()) -> str:
    """The dense model, each point of the front and each bundle, one a row, and what the marks say that occur."""
    rows, legend = _rows(front, bundles)
    return "\n".join([aligned(rows, right=range(2, len(rows[0]))), *([legend] if legend else [])])


def front_html(front: Mapping[str, Any]) -> str:
    """The same for a notebook."""
    return table_html(*_rows(front))


def _rows(front: Mapping[str, Any], bundles: Sequence[Mapping[str, Any]] = ()) -> tuple[list[list[str]], str]:
    """The table's cells, its head first, and what the marks in it say."""
    dense = front["dense"]["metrics"]
    keys = shown_keys(dense, Budget.parse(*front["budget"]), front["objectives"])
    rows = [
        ["", "trial", *map(_headed, keys)],
        ["", "dense", *_cells(dense, keys)],
    ]
    for point in front["front"]:
        mark = "*" if point["trial"] == front["best"] else " " if point["feasible"] else "!"
        mark = "~" if point.get("uncertain") else mark
        named = f"{point['trial']} {point['precision']}" if "precision" in point else str(point["trial"])
        rows.append([mark, named, *_cells(point["metrics"], keys)])
    rows += [["+", bundle["name"], *_cells(bundle["metrics"], keys)] for bundle in bundles]
    marks = {cell[-1:] for row in rows for cell in row}
    legend = "; ".join(f"{mark} {meaning}" for mark, meaning in _MARKS.items() if mark in marks)
    return rows, legend


def shown_keys(dense: Mapping[str, Any], budget: Budget, objectives: Sequence[str]) -> list[str]:
    """Which of the dense model's metrics are told: qualities, what a cost is mostly seen by, and what was asked for."""
    qualities = [key for key, found in dense.items() if "split" in found]
    usual = [*qualities, *(key for column in _COLUMNS for key in dense if MetricKey.parse(key).here == column)]
    asked = [*(limit.key for limit in budget.limits), *objectives]
    return [*dict.fromkeys([*usual, *(key for key in asked if key in dense)])]


def summary(front: Mapping[str, Any], overhead: float) -> str:
    """What a search comes to, in a few lines."""
    counted, best, test = front["trials"], front["best"], front["test"]
    lines = [
        f"{counted['complete'] + counted['failed']} candidates "
        f"({counted['infeasible']} beyond the budget, {counted['failed']} failed) in {front['seconds']:.0f} s"
        + (f"; per-candidate overhead {overhead:.1%} of the workers' time" if math.isfinite(overhead) else "")
    ]
    stages = sorted(front.get("stages", {}).items(), key=lambda each: -each[1])
    if told := [f"{name} {took:.0f} s" for name, took in stages if took >= _TOLD_S]:
        lines.append(f"where the time went: {', '.join(told)}")
    if best is not None and "best" in test:
        quality = next(iter(test["best"]))
        own, dense = test["best"][quality]["value"], test["dense"][quality]["value"]
        lines.append(f"best: trial {best}, {quality} on the test split {own:.4f} (dense {dense:.4f})")
        lines.append(f"load it: {loading(front, front['run'])}")
    lines.append(f"everything is in {front['run']}: front.json, front.png, measurements.jsonl, models/")
    return "\n".join(lines)


def loading(front: Mapping[str, Any], run: object) -> str:
    """How the best model of a run is loaded in Python, wherever its directory lies by now."""
    folder = f"{run}/models/{front['best']}"
    return f"autoprune.load({json.dumps(folder, ensure_ascii=False)})"


def closest(front: Mapping[str, Any], budget: Budget) -> str:
    """For each limit, the best value of the front and its interval."""
    said = []
    for limit in budget.limits:
        found = [point["metrics"][limit.key] for point in front["front"] if limit.key in point["metrics"]]
        if found:
            best = (min if limit.relation == "<=" else max)(found, key=lambda metric: metric["value"])
            shown = quantity.show_interval(best["value"], best["low"], best["high"], limit.unit)
            said.append(f"best possible {limit.key} {shown}")
    return "; ".join(said) or "no pruned model was finished"


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Columns padded to equal width, those in `right` to the right; no trailing white space."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if place in right else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _headed(key: str) -> str:
    of = MetricKey.parse(key)
    head = _HEADS.get(of.here)
    return key if head is None else f"{head}@{of.source}" if str(of.source) else head


def _cells(metrics: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [_cell(key, metrics[key]) if key in metrics else "-" for key in keys]


def _cell(key: str, found: Mapping[str, Any]) -> str:
    of = MetricKey.parse(key).here
    if of == RELATIVE:
        return f"{found['value']:.0%}"
    if of == SLOW_HOURS:
        return f"up to {quantity.show(found['value'], found['unit'])}"
    if "split" in found:
        return f"{found['value']:.4f}"
    if found["low"] != found["high"]:  # measured, and held against a limit by its interval
        text = quantity.show_interval(found["value"], found["low"], found["high"], found["unit"])
        return text if found.get("valid", True) else f"{text} ~"
    return quantity.show(found["value"], found["unit"])
