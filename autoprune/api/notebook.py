"""Progress in a notebook. Knows the display handles of IPython, and whether there is a notebook; where there is none,
news go to Python's logging."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from autoprune.core.reporter import Advance, Logged, Reporter

#: Seconds between two pictures of a bar at least: each is a message to a browser.
_EVERY_S: Final = 0.2


def usual_reporter() -> Reporter:
    """Who is told of progress where the user has named nobody."""
    return NotebookReporter() if _in_notebook() else Logged()


def _in_notebook() -> bool:
    """Whether a kernel runs this code, which shows what it displays; a terminal's IPython has none."""
    library = sys.modules.get("IPython")  # who has a notebook has imported it
    shell: Any = library.get_ipython() if library is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookReporter(Logged):
    """A bar for each piece of long work, in the output of the cell; all else as elsewhere."""

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        from IPython.display import display

        reached, said, shown = done, "", time.monotonic()
        handle = display(_bar(label, reached, total, said), raw=True, display_id=True)

        def advance(text: str) -> None:
            nonlocal reached, said, shown
            reached, said = reached + 1, text
            if time.monotonic() - shown >= _EVERY_S:
                shown = time.monotonic()
                handle.update(_bar(label, reached, total, said), raw=True)

        try:
            yield advance
        finally:
            handle.update(_bar(label, reached, total, said), raw=True)


def _bar(label: str, reached: int, total: int, said: str) -> dict[str, str]:
    """A bar as a notebook shows it, and as text where it is converted to that."""
    text = f"{label}: {reached}/{total}{', ' if said else ''}{said}"
    bar = f'<progress value="{reached}" max="{max(total, 1)}" style="width: 16em"></progress>'
    return {"text/plain": text, "text/html": f"<div>{bar} {html.escape(text)}</div>"}
