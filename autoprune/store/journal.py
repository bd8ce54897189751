"""The study's file: one JSON object a line, one writer. Knows commits and torn tails; not what the lines mean.

The lines are Optuna's own journal, so `optuna-dashboard` opens the file live. A commit is one write and one fsync,
whole or absent: every line of it but the last is marked, and what was cut off in the middle of one goes when the file
is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from optuna.storages.journal import BaseJournalBackend

from autoprune.errors import StorageError
from autoprune.store.files import storing

#: A key that Optuna does not know and does not mind: the commit goes on in the next line.
_MORE: Final = "more"
_CHUNK: Final = 1 << 20


class Journal(BaseJournalBackend):
    """An Optuna journal backend for the one process that holds the run's lock.

    torn: how many bytes of an unfinished commit were cut off when it was opened. A corrupt line elsewhere is refused
    when it is read. Each append is a commit of its own, unless it is made inside `commit`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storing(path):
            self._file = path.open("a+b", buffering=0)
            size = os.fstat(self._file.fileno()).st_size
            whole = _whole(path)
            self.torn = size - whole
            if self.torn:
                self._file.truncate(whole)
                os.fsync(self._file.fileno())
        # What is on disk is read once, line by line; after that only what Optuna has not read yet is kept.
        self._stored = whole > 0
        self._first, self._logs = 0, list[dict[str, Any]]()
        self._pending: list[dict[str, Any]] | None = None
        self._broken = False

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        if self._stored:
            self._stored = False
            yield from self._from_disk(log_number_from)
        del self._logs[: log_number_from - self._first]
        self._first = max(self._first, log_number_from)
        yield from tuple(self._logs)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._pending is not None:
            self._pending.extend(logs)
        else:
            self._write(logs)
        self._logs.extend(logs)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """What is appended inside becomes durable at its end, together or not at all.

        After an exception inside, Optuna knows what the file does not have: nothing more is written by this process.

        Raises:
            StorageError: the file system refuses, or an earlier commit was broken off.
        """
        if self._pending is not None:
            yield
            return
        self._pending = []
        try:
            yield
        except BaseException:
            self._pending, self._broken = None, True
            raise
        pending, self._pending = self._pending, None
        if pending:
            self._write(pending)

    def close(self) -> None:
        self._file.close()

    def _write(self, logs: list[dict[str, Any]]) -> None:
        if self._broken:
            raise StorageError(
                expected=f"whole commits to {self._path}",
                received="one that was broken off in the middle",
                cure="go on with `autoprune resume`, which reads what was kept",
            )
        marked = [{**log, _MORE: True} for log in logs[:-1]] + logs[-1:]
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in marked).encode()
        with storing(self._path):
            start = os.fstat(self._file.fileno()).st_size
            try:
                written = self._file.write(lines)
                if written != len(lines):
                    self._file.write(lines[written:])  # a full disk says so only when asked again
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(start)
                raise

    def _from_disk(self, start: int) -> Iterator[dict[str, Any]]:
        with storing(self._path), self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number > start:
                    yield self._parsed(number, line)
                self._first = number

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        log = _decoded(line)
        if log is None or "op_code" not in log:
            raise StorageError(
                expected=f"an entry of a study in line {number} of {self._path}",
                received=repr(line[:40]),
                cure="restore the file from a copy; lines before it are intact",
            )
        return log


def _whole(path: Path) -> int:
    """How many bytes of a file are whole commits."""
    with path.open("rb") as file:
        start, tail = file.seek(0, os.SEEK_END), b""
        while start > 0:
            # Backwards, as far as the last line that ends a commit.
            before = start
            start = max(start - _CHUNK, 0)
            file.seek(start)
            tail = file.read(before - start) + tail
            end = tail.rfind(b"\n") + 1
            while end:
                begin = tail.rfind(b"\n", 0, end - 1) + 1
                if begin == 0 and start > 0:
                    break  # the line begins before what was read
                log = _decoded(tail[begin:end])
                if log is None or _MORE not in log:
                    return start + end
                end = begin
        return 0


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        log = json.loads(line)
    except ValueError:
        return None
    return log if isinstance(log, dict) else None
