"""Tables for notebooks. Knows HTML; every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table_html(rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Rows of text as a table, the first of them its head."""
    head, *body = ([escape(cell) for cell in row] for row in rows)
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
    titles = "".join(f"<th>{cell}</th>" for cell in head)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{told}<thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
