"""A front as a table of text. Knows front.json only, so that any finished run can be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.core import quantity

_COLUMNS = ("latency", "latency.relative", "params", "flops", "size")


def front_table(front: Mapping[str, Any]) -> str:
    """The dense model and each point of the front, one a row; `*` marks the best, `!` a broken budget."""
    dense = front["dense"]["metrics"]
    qualities = [key for key, found in dense.items() if "split" in found]
    keys = [key for key in (*qualities, *_COLUMNS) if key in dense]
    rows = [["", "trial", *("of dense" if key == "latency.relative" else key for key in keys)], ["", "dense", *_cells(dense, keys)]]
    for point in front["front"]:
        mark = "*" if point["trial"] == front["best"] else " " if point["feasible"] else "!"
        rows.append([mark, str(point["trial"]), *_cells(point["metrics"], keys)])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """Columns padded to equal width, the first `left` of them to the left; no trailing white space."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text.ljust(width) if place < left else text.rjust(width) for place, (text, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cells(metrics: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [_cell(key, metrics[key]) if key in metrics else "-" for key in keys]


def _cell(key: str, found: Mapping[str, Any]) -> str:
    if key == "latency.relative":
        return f"{found['value']:.0%}"
    if key == "latency":
        text = f"{quantity.show(found['value'], 's')} [{quantity.show(found['low'], 's')}, {quantity.show(found['high'], 's')}]"
        return text if found.get("valid", True) else f"{text} ?"
    if "split" in found:
        return f"{found['value']:.4f}"
    return quantity.show(found["value"], found["unit"])
