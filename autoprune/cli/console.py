"""A reporter for people at a terminal, and for logs. Knows stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from typing import TextIO

from autoprune.core.clock import Clock
from autoprune.core.quantity import spell
from autoprune.core.reporter import Advance

#: Without a terminal, progress is a line at most this often; the first one comes so soon.
_EVERY_S, _SOON_S = 10.0, 2.0


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
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=False),
            TextColumn("{task.fields[news]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(label, total=total, completed=done, news="")
            yield lambda text: progress.update(bar, advance=1, news=text)

    @contextmanager
    def _lines(self, label: str, total: int, done: int) -> Iterator[Advance]:
        start = self._clock.wall()
        begun, last = done, -math.inf

        def line(text: str = "") -> None:
            nonlocal last
            last = self._clock.wall()
            passed, new = last - start, done - begun
            told = " left" in text  # a search knows better, as its time may be limited
            left = f", {spell(passed / new * (total - done))} left" if new and done < total and not told else ""
            self.note(f"{label}: {done}/{total}, {passed:.0f} s{left}{', ' if text else ''}{text}")

        def advance(text: str) -> None:
            nonlocal done
            done += 1
            passed = self._clock.wall() - start
            if passed >= _SOON_S and (self._clock.wall() - last >= _EVERY_S or done >= total):
                line(text)

        # What says nothing of itself for a while is named all the same.
        waiting = threading.Timer(_SOON_S, lambda: line() if math.isinf(last) else None)
        waiting.daemon = True
        waiting.start()
        try:
            yield advance
        finally:
            waiting.cancel()
