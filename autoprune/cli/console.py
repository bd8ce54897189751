"""A reporter for people at a terminal, and for logs. Knows stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from typing import Final, TextIO

from autoprune.core.clock import Clock
from autoprune.core.reporter import Advance

#: Without a terminal, progress is a line at most this often.
_EVERY_S: Final = 10.0


def aside() -> AbstractContextManager[object]:
    """While a user's code runs, what it prints goes to stderr: stdout is for data."""
    return redirect_stdout(sys.stderr)


def say(text: str) -> None:
    """One line on stderr. Who read it may have ended (`2>&1 | tee` by the same Ctrl-C): the work is not to end so."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        hush(sys.stderr)


def hush(stream: TextIO) -> None:
    """Let go what nobody reads any more, at the end of the process too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class ConsoleReporter:
    """News on stderr. `quiet` leaves warnings only."""

    def __init__(self, quiet: bool, clock: Clock) -> None:
        self._quiet, self._clock = quiet, clock

    def note(self, text: str) -> None:
        if not self._quiet:
            say(text)

    def warn(self, text: str) -> None:
        say(f"warning: {text}")

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        if self._quiet:
            yield lambda text: None
        elif sys.stderr.isatty():
            with self._bar(label, total, done) as advance:
                yield advance
        else:
            with self._lines(label, total, done) as advance:
                yield advance

    @contextmanager
    def _bar(self, label: str, total: int, done: int) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[news]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(label, total=total, completed=done, news="")
            yield lambda text: progress.update(bar, advance=1, news=text)

    @contextmanager
    def _lines(self, label: str, total: int, done: int) -> Iterator[Advance]:
        start = self._clock.wall()
        last = start

        def advance(text: str) -> None:
            nonlocal done, last
            done += 1
            now = self._clock.wall()
            if now - last >= _EVERY_S or done == total:
                last = now
                self.note(f"{label}: {done}/{total}, {now - start:.0f} s{', ' if text else ''}{text}")

        yield advance
