"""The run directory. Knows its files, its lock and its schema; values come ready for JSON.

`run.yaml` is the recipe, `study.journal` the sampler's truth, `measurements.jsonl` every trial with failures,
`front.json` the result that other programs read, `log.jsonl` what happened when.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

import yaml

from autoprune.core.clock import Clock
from autoprune.core.trial import Trial
from autoprune.errors import StorageError, describe
from autoprune.store.files import append, storing, write_atomic
from autoprune.store.journal import Journal

FRONT: Final = "front.json"


class RunDirectory:
    """A new run, locked for this process until `close`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._start = clock.wall()
        with storing(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path / "LOCK")
            present = sorted(each.name for each in path.iterdir() if each.name != "LOCK")
        if present:
            self._lock.close()
            raise StorageError(
                expected=f"a new or empty run directory {path}",
                received=f"{', '.join(present[:4])} in it",
                cure="choose another --run; runs are never overwritten",
            )
        self.journal = Journal(path / "study.journal")

    def model(self, trial: int) -> Path:
        """The folder of a trial's model."""
        return self.path / "models" / str(trial)

    def write_recipe(self, recipe: Mapping[str, Any]) -> None:
        write_atomic(self.path / "run.yaml", yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True).encode())

    def write(self, name: str, content: bytes) -> None:
        write_atomic(self.path / name, content)

    def write_front(self, front: Mapping[str, Any]) -> None:
        self.write(FRONT, (json.dumps(front, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def record(self, trial: Trial, stage: str) -> None:
        """Keep a trial of the "search" or "final" stage, failures too."""
        append(self.path / "measurements.jsonl", json.dumps(trial.to_json(stage), allow_nan=False))

    def log(self, event: str, **details: Any) -> None:
        """One line on what happened, with the seconds since the run began."""
        line = {"seconds": round(self._clock.wall() - self._start, 3), "event": event, **details}
        append(self.path / "log.jsonl", json.dumps(line))

    def close(self) -> None:
        self.journal.close()
        self._lock.close()

    def discard(self) -> None:
        """Remove a run in which nothing has happened yet; what a user put there stays."""
        self.close()
        with storing(self.path):
            for name in ("study.journal", "LOCK"):
                (self.path / name).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()


def next_free(folder: Path, name: str) -> Path:
    """`folder/name-1`, or the first number that is not taken."""
    return next(path for number in count(1) if not (path := folder / f"{name}-{number}").exists())


def read_front(run: Path) -> dict[str, Any]:
    """The checked content of a run's front.json.

    Raises:
        StorageError: there is none, or it is of another schema.
    """
    try:
        front = json.loads((run / FRONT).read_bytes())
    except (OSError, ValueError) as error:
        raise StorageError(
            expected=f"{FRONT} in {run}", received=describe(error), cure="give the directory of a finished run"
        ) from error
    if not isinstance(front, dict) or front.get("schema") != 1:
        received = front.get("schema") if isinstance(front, dict) else type(front).__name__
        raise StorageError(
            expected=f"schema 1 in {run / FRONT}",
            received=repr(received),
            cure="use the version of autoprune that wrote it",
        )
    return front


def _locked(path: Path) -> IO[str]:
    """Hold the file's lock; it vanishes with the process, however that ends."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise StorageError(
            expected=f"{path.parent} for this search alone",
            received=f"it is held by {holder}",
            cure="wait for that search, or choose another --run",
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
