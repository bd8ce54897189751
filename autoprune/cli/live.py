"""A search as one picture on a terminal: the front so far, all progress, and news above it. Knows rich and stderr;
where there is no terminal, news are lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from autoprune.cli.console import ConsoleReporter
from autoprune.core import quantity
from autoprune.core.callbacks import FrontReport
from autoprune.core.clock import SystemClock
from autoprune.core.reporter import Advance, Reporter
from autoprune.core.trial import Trial

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Models of the front that are shown: what is higher than the terminal cannot be drawn in place.
_MOST: Final = 10
#: Times a second that the picture is drawn at most.
_PER_SECOND: Final = 4

OnFront = Callable[[FrontReport], None]


@contextmanager
def news(quiet: bool, live: bool) -> Iterator[tuple[Reporter, OnFront | None]]:
    """Who tells the user what a search does, and what is told of its front: with `live` a picture, on a terminal."""
    if quiet or not live:
        yield ConsoleReporter(quiet, SystemClock()), None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield ConsoleReporter(quiet, SystemClock()), None
        return
    with picture(console) as reporter:
        yield reporter, reporter.front


@contextmanager
def picture(console: Console) -> Iterator[LiveReporter]:
    """The picture on a console. However it ends, the last one stays, and the cursor is back."""
    from rich.live import Live

    reporter = LiveReporter(console)
    # What a user's code prints goes above the picture.
    with Live(reporter, console=console, refresh_per_second=_PER_SECOND):
        yield reporter


class LiveReporter:
    """News above, then the front, then bars of what is going on."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[news]}", markup=False),
        )
        self._console, self._progress = console, Progress(*columns, console=console)
        self._front: tuple[RenderableType, ...] = ()

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        return Group(*self._front, self._progress)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", markup=False, highlight=False, style="yellow")

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        bar = self._progress.add_task(label, total=total, completed=done, news="")
        try:
            yield lambda text: self._progress.update(bar, advance=1, news=text)
        finally:
            self._progress.remove_task(bar)

    def front(self, report: FrontReport) -> None:
        """The front as it is by now."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        named = [metric.name for metric in report.objectives]
        title = f"front of {len(report.front)} after {report.trials} candidates, volume {report.volume:.3f}"
        table = Table("", "trial", *named, "budget", box=box.SIMPLE_HEAD)
        for trial in _spread(report):
            best = report.best is not None and trial.number == report.best.number
            values = [quantity.show(trial.value(metric.name), metric.unit) for metric in report.objectives]
            within = "within" if trial.feasible else "beyond"
            table.add_row("*" if best else "", str(trial.number), *values, within, style="bold" if best else "")
        self._front = (Text(title, "bold"), table)


def _spread(report: FrontReport) -> list[Trial]:
    """Models of the front from its one end to the other, the best among them."""
    front = report.front
    if len(front) <= _MOST:
        return list(front)
    places = {round(place * (len(front) - 1) / (_MOST - 2)) for place in range(_MOST - 1)}
    best = None if report.best is None else report.best.number
    return [trial for place, trial in enumerate(front) if place in places or trial.number == best]
