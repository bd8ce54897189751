"""Work and measurements that would disturb each other on one machine. Knows locks of files; not who works on what.

Any number of processes work at a time; one measures, while nobody works. Who waits to measure is not overtaken by those
who come to work. A lock vanishes with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autoprune.store.device import cache_folder
from autoprune.store.machine import boot


class Gate:
    """One machine's gate: two files next to each other. Each process makes its own."""

    @classmethod
    def of_this_machine(cls) -> Gate:
        """In the user's cache, which other machines may share."""
        return cls(cache_folder("leases") / f"work-{boot()}")

    def __init__(self, path: Path) -> None:
        self._room, self._door = path.with_suffix(".room"), path.with_suffix(".door")
        self._counting, self._one = threading.Lock(), threading.Lock()
        self._waiting = 0
        self._files: list[IO[str]] = []

    @contextmanager
    def working(self) -> Iterator[None]:
        """With others who work; not while anybody measures."""
        with self._door.open("a+") as door, self._room.open("a+") as room:
            fcntl.flock(door, fcntl.LOCK_SH)
            fcntl.flock(room, fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)
            try:
                yield
            finally:  # closing is not enough: processes that were forked meanwhile have the file open, too
                fcntl.flock(room, fcntl.LOCK_UN)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Alone. Of several threads one after the other; nobody works before all of them are through."""
        with self._counting:
            self._waiting += 1
        try:
            with self._one:
                if not self._files:
                    self._close()
                yield
        finally:
            with self._counting:
                self._waiting -= 1
                if not self._waiting:
                    self._open()

    def _close(self) -> None:
        for path in (self._door, self._room):
            file = path.open("a+")  # some file systems want a file that is read for a shared lock
            fcntl.flock(file, fcntl.LOCK_EX)
            self._files.append(file)

    def _open(self) -> None:
        while self._files:
            file = self._files.pop()
            fcntl.flock(file, fcntl.LOCK_UN)
            file.close()
