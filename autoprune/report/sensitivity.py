"""Sensitivities as text and as a picture. Knows groups, levels and measurements; not how they were found."""

from __future__ import annotations

import io

from autoprune.core.metric import RELATIVE
from autoprune.core.sensitivity import Level, Sensitivities
from autoprune.report.table import aligned

#: Lines that a legend still names.
_NAMED = 24


def sensitivity_table(found: Sensitivities) -> str:
    """A level a line: what is kept, how the quality and the loss change, and the share of latency that is saved."""
    dense, keys = found.dense, list(dict.fromkeys((found.quality, found.loss)))
    head = ["group", "kind", "kept", "of", *keys, "latency saved"]
    lines = [head, ["dense", "", "", "", *(f"{dense[key].value:.4f}" for key in keys), ""]]
    last = ""
    for row in found.levels:
        named = [row.group, row.kind] if row.group != last else ["", ""]
        last = row.group
        cells = [f"{row.measured[key].value:.4f}" if key in row.measured else row.error[:40] for key in keys]
        lines.append([*named, str(row.kept), str(row.size), *cells, _saved(row)])
    return aligned(lines, right=range(2, len(head)))


def sensitivity_picture(found: Sensitivities) -> bytes:
    """A PNG: the loss against what is kept, and the latency that is saved against it, a line a group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    key, dense = found.loss, found.dense
    groups: dict[str, list[Level]] = {}
    for row in found.levels:
        if row.measured:
            groups.setdefault(row.group, []).append(row)
    figure = Figure(figsize=(12, 5), dpi=120)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for place, (name, levels) in enumerate(groups.items()):
        kept = [1.0, *(row.share for row in levels)]
        style = {"color": f"C{place % 10}", "linestyle": ("-", "--", ":", "-.")[place // 10 % 4], "marker": "o"}
        change = [0.0, *(row.measured[key].value - dense[key].value for row in levels)]
        left.plot(kept, change, markersize=4, label=name if place < _NAMED else None, **style)
        timed = [row for row in levels if str(RELATIVE) in row.measured]
        saved = [0.0, *(100 * (1 - row.measured[str(RELATIVE)].value) for row in timed)]
        right.plot([1.0, *(row.share for row in timed)], saved, markersize=4, **style)
    left.set_ylabel(f"change of {key}")
    right.set_ylabel("latency saved [%]")
    for axes in (left, right):
        axes.set_xlabel("share kept of the group, all others whole")
        axes.set_xlim(1.02, 0)
        axes.grid(alpha=0.25)
    left.legend(fontsize=7, loc="upper left")
    figure.suptitle(found.task)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _saved(level: Level) -> str:
    ratio = level.measured.get(str(RELATIVE))
    if ratio is None:
        return "-"
    return f"{1 - ratio.value:.1%} [{1 - ratio.high:.1%}, {1 - ratio.low:.1%}]" + ("" if ratio.valid else " ?")
