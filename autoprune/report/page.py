"""The page of a report: one file that needs no network. Knows jinja2 and Plotly's script; what it shows is data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from autoprune.errors import UsageError, describe
from autoprune.report.page_data import page_data
from autoprune.report.table import front_table
from autoprune.report.verdict import warnings
from autoprune.store.reading import RunRecord, read_run

#: What a run's own page is called.
REPORT: Final = "report.html"
_SCRIPTS: Final = ("text.js", "front.js", "model.js", "inside.js", "search.js", "main.js")
#: What would end a script element, or begin a comment in it, inside of JSON.
_UNSAFE: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def report(runs: Sequence[Path], *, live: bool = False) -> bytes:
    """The page of one or several runs, on the same axes.

    Args:
        runs: Run directories, finished or not.
        live: Whether the page asks where it came from for news.

    Returns:
        HTML, UTF-8.

    Raises:
        UsageError: a library is missing.
        StorageError: one of them is no run.
    """
    jinja, plotly = _libraries()
    records = [read_run(run) for run in runs]
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined)
    text = environment.from_string(_part("page.html")).render(
        title=" and ".join(record.path.resolve().name for record in records),
        style=jinja.filters.Markup(_part("page.css")),
        script=jinja.filters.Markup("\n".join(map(_part, _SCRIPTS))),
        plotly=jinja.filters.Markup(plotly),
        data=jinja.filters.Markup(encoded(data_of(records))),
        tables=[front_table(record.front, record.bundles) for record in records if record.front],
        live=live,
    )
    return str(text).encode()


def data_of(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What the page shows, ready for JSON."""
    return {"runs": [page_data(record) for record in records], "warnings": warnings(records)}


def encoded(data: Mapping[str, Any]) -> str:
    """JSON that stands in a script element, whatever its texts are."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_UNSAFE)


def _part(name: str) -> str:
    return (files("autoprune.report") / "page" / name).read_text(encoding="utf-8")


def _libraries() -> tuple[Any, str]:
    """jinja2, and Plotly's own script."""
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UsageError(
            expected="the libraries of a report", received=describe(error), cure="pip install 'autoprune[report]'"
        ) from error
    return jinja2, get_plotlyjs()
