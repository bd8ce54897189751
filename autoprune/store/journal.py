"""The study's file: one JSON object a line, one writer. Knows torn tails and corrupt lines; not what the lines mean.

The lines are Optuna's own journal, so `optuna-dashboard` opens the file live. Each commit is one write and one fsync;
the writer reads its own lines from memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from autoprune.errors import StorageError
from autoprune.store.files import storing


class Journal(BaseJournalBackend):
    """An Optuna journal backend for the one process that holds the run's lock.

    Opening cuts a torn last line off (`torn` says how many bytes went) and refuses a corrupt one in the middle.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storing(path):
            content = path.read_bytes() if path.exists() else b""
            whole = content.rfind(b"\n") + 1
            self.torn = len(content) - whole
            self._logs: list[dict[str, Any]] = [
                self._parsed(number, line) for number, line in enumerate(content[:whole].splitlines(), 1)
            ]
            self._file = path.open("ab", buffering=0)
            if self.torn:
                self._file.truncate(whole)
                os.fsync(self._file.fileno())

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
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
        self._logs.extend(logs)

    def close(self) -> None:
        self._file.close()

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            log = json.loads(line)
        except ValueError:
            log = None
        if not isinstance(log, dict):
            raise StorageError(
                expected=f"a JSON object in line {number} of {self._path}",
                received=repr(line[:40]),
                cure="restore the file from a copy; lines before it are intact",
            )
        return log
