"""The run directory. Knows its files, its lock and its schema; values come ready for JSON.

`run.yaml` is the recipe, `study.journal` the truth about every trial, `measurements.jsonl` the same in plain lines,
`front.json` the result that other programs read, `log.jsonl` what happened when.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from autoprune.core.clock import Clock
from autoprune.core.trial import Trial
from autoprune.errors import StorageError
from autoprune.store.files import append, left_in, remove, storing, whole_lines, write_atomic
from autoprune.store.ledger import JOURNAL
from autoprune.store.lock import RunLock, remote
from autoprune.store.reading import (
    CHECKPOINTS,
    FRONT,
    LOG,
    MEASUREMENTS,
    RECIPE,
    SCHEMA,
    entry,
    events_of,
    places,
    read_front,
    read_recipe,
    seconds_by_stage,
)


class RunDirectory:
    """A run, locked for this process until `close`.

    notes: what its user should know of how it was found; ended: the last search in it came to its end; made: folders
    that were not there before, innermost first; stages: seconds of each stage so far, earlier processes included.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        lock: RunLock,
        spent: float = 0.0,
        searched: float = 0.0,
        *,
        ended: bool = False,
        made: Sequence[Path] = (),
        stages: Mapping[str, float] | None = None,
    ) -> None:
        self.path, self.ended, self._searched, self._lock, self._made = path, ended, searched, lock, made
        self._clock, self._start = clock, clock.wall() - spent
        self._written: list[str] = []
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.stages = dict(stages or {})
        self._inner: list[float] = []
        kind = remote(path)
        slow = f"{path} is on a network file system ({kind}): locks and syncs there may not hold when a machine fails"
        self.notes = tuple(filter(None, (lock.note, slow if kind else "")))

    @classmethod
    def create(cls, path: Path, clock: Clock) -> RunDirectory:
        """A new run.

        Raises:
            StorageError: something is there already, or nothing can be written.
        """
        with storing(path):
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            _check_empty(path)  # before anything is put there
            lock = RunLock(path)
            try:
                _check_empty(path)
            except StorageError:
                lock.release()
                raise
        return cls(path, clock, lock, made=made)

    @classmethod
    def create_next(cls, folder: Path, name: str, clock: Clock) -> RunDirectory:
        """A new run `folder/name-1`, or with the first number that nobody has, also where many begin at one moment.

        Raises:
            StorageError: nothing can be written.
        """
        with storing(folder):
            made = [each for each in (folder, *folder.parents) if not each.exists()]
            path = _claimed(folder, name)
            return cls(path, clock, RunLock(path), made=[path, *made])

    @classmethod
    def reopen(cls, path: Path, clock: Clock) -> tuple[RunDirectory, dict[str, Any]]:
        """A run that was begun earlier, and its recipe.

        Raises:
            StorageError: it is no run, another process has it, or another version wrote it.
        """
        recipe = read_recipe(path)
        with storing(path):
            lock = RunLock(path)
        try:
            for left in left_in(places(path)):
                remove(left)
            events = events_of(whole_lines(path / LOG), path / LOG)
        except StorageError:
            lock.release()
            raise
        spent = max((each["seconds"] for each in events), default=0.0)
        stages = [each for each in events if each["event"] in ("began", "resumed", "finished")]
        ended = bool(stages) and stages[-1]["event"] == "finished" and not stages[-1]["partial"]
        return cls(path, clock, lock, spent, _searched(events), ended=ended, stages=seconds_by_stage(events)), recipe

    @property
    def seconds(self) -> float:
        """How long the search has been running, earlier processes included."""
        return self._clock.wall() - self._start

    @property
    def searched(self) -> float:
        """Seconds that earlier processes looked for candidates, and those of all forecasts so far."""
        return self._searched + self.stages.get("forecast", 0.0)

    @property
    def finished(self) -> bool:
        """Whether the front that is there is of finished models, not of a search that was stopped."""
        try:
            return not read_front(self.path)["partial"]
        except StorageError:
            return False

    def model(self, trial: int) -> Path:
        """The folder of a trial's model."""
        return self.path / "models" / str(trial)

    def checkpoint(self, name: str) -> Path:
        """The file of a model that is being fine-tuned; name: the trial's number, with a dash and what sets it apart
        where a trial has several."""
        return self.path / CHECKPOINTS / f"{name}.safetensors"

    def write_recipe(self, recipe: Mapping[str, Any]) -> None:
        text = yaml.safe_dump({"schema": SCHEMA, **recipe}, sort_keys=False, allow_unicode=True)
        write_atomic(self.path / RECIPE, text.encode())

    def write(self, name: str, content: bytes) -> None:
        self._written.append(name)
        write_atomic(self.path / name, content)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        path = self.path / name
        with storing(path):
            return path.read_bytes() if path.exists() else None

    def write_front(self, front: Mapping[str, Any]) -> None:
        self.write(FRONT, (json.dumps(front, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def record(self, trial: Trial, stage: str) -> None:
        """Keep a trial of the stage "search", "contender" or "final", failures too; the ledger has it already."""
        append(self.path / MEASUREMENTS, json.dumps(trial.to_json(stage), allow_nan=False), sync=False)

    def recorded(self) -> set[int]:
        """Numbers of the trials of the stage "search" that `record` was told of, by earlier processes too."""
        entries = map(entry, whole_lines(self.path / MEASUREMENTS))
        return {each["trial"] for each in entries if each.get("stage") == "search"}

    def log(self, event: str, /, **details: Any) -> None:
        """One line on what happened, with the seconds since the run began, whatever the details are called."""
        own = {"seconds": round(self.seconds, 3), "event": event}
        line = own | details | own
        append(self.path / LOG, json.dumps(line), sync=event in ("began", "resumed", "finished"))
        for heard in self._listeners:
            heard(line)

    def listen(self, heard: Callable[[Mapping[str, Any]], None]) -> None:
        """Call it with each line of the log from now on, once that is written."""
        self._listeners.append(heard)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done inside belongs to a stage; what an inner stage takes is not the outer one's."""
        start = self._clock.wall()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = self._clock.wall() - start
            self.spend(name, took - self._inner.pop())
            if self._inner:
                self._inner[-1] += took

    def spend(self, name: str, seconds: float) -> None:
        """Seconds of a stage that were taken anyhow."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds
        self.log("stage", stage=name, took=round(seconds, 3))

    def move(self, name: str, other: str, seconds: float) -> None:
        """Seconds of one stage are another's, of which the log has a line each."""
        if seconds:
            self.spend(name, -seconds)
            self.spend(other, seconds)

    def close(self) -> None:
        self._lock.release()

    def discard(self) -> None:
        """Remove a run in which nothing has happened yet, and folders that were made for it; a user's own stay."""
        with storing(self.path):
            for name in (JOURNAL, RECIPE, LOG, *self._written, "LOCK"):
                (self.path / name).unlink(missing_ok=True)
            for folder in self._made:
                try:
                    folder.rmdir()
                except OSError:  # it is no longer this run's alone
                    break
        self.close()

    def forget_checkpoints(self) -> None:
        """Remove what only an unfinished fine-tuning needs."""
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)


def _claimed(folder: Path, name: str) -> Path:
    """`folder/name-1`, or the first number that is not taken, made: of two processes one has it."""
    return next(path for number in count(1) if _made(path := folder / f"{name}-{number}"))


def _made(path: Path) -> bool:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _check_empty(path: Path) -> None:
    present = sorted(each.name for each in path.iterdir() if each.name != "LOCK")
    if present:
        resume = f"go on with `autoprune resume {path}`, or choose another --run"
        raise StorageError(
            expected=f"a new or empty run directory {path}",
            received=f"{', '.join(present[:4])} in it",
            cure=resume if RECIPE in present else "choose another --run; runs are never overwritten",
        )


def _searched(events: Iterable[Mapping[str, Any]]) -> float:
    """Of each process the seconds from when it began to look for candidates to the last one that was told."""
    total, begin, last = 0.0, 0.0, 0.0
    for each in events:
        if each["event"] == "searching":
            total, begin, last = total + last - begin, each["seconds"], each["seconds"]
        elif each["event"] in ("trial", "searched"):
            last = each["seconds"]
    return total + last - begin
