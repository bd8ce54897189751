"""The trackers of a search, from its first candidate to its end. Knows how one is opened, and how it may fail; not what
it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from autoprune import registry
from autoprune.core.reporter import Reporter
from autoprune.engine.job import SearchJob
from autoprune.engine.patient_calls import PatientCalls
from autoprune.engine.tracked_events import TrackedEvents, parameters
from autoprune.errors import StoppedEarlyError, describe
from autoprune.store.files import whole_lines
from autoprune.store.reading import LOG, TRACKED, TRACKING, events_of, read_recipe
from autoprune.store.run import RunDirectory
from autoprune.trackers import TrackedRun, Tracker

#: Seconds that a search waits for a call of a tracker at most. Opening imports a library and may set up a database;
#: closing may send all that was kept back.
ENDS_S: Final = 120.0
BETWEEN_S: Final = 30.0


@contextmanager
def tracked(job: SearchJob) -> Iterator[Tracking]:
    """Trackers that, once opened, follow what is logged inside; whatever ends it, they are told how."""
    tracking, state = Tracking(job.settings.trackers, job.directory, job.reporter), "failed"
    job.directory.listen(tracking.heard)
    try:
        yield tracking
        state = "finished"
    except StoppedEarlyError:
        state = "stopped"
        raise
    finally:
        tracking.end(state)


@dataclass
class _Followed:
    """One tracker; None until it is opened."""

    name: str
    calls: PatientCalls
    tracker: Tracker | None = None


class Tracking:
    """All trackers of one search. One that fails, or does not answer, is off from then on, and a line says so.

    Each has a thread of its own, which the search waits for: one that is slow takes time, one that hangs no more than
    the limit.
    """

    def __init__(self, names: Iterable[str], directory: RunDirectory, reporter: Reporter) -> None:
        self._directory, self._reporter = directory, reporter
        self._events = TrackedEvents(directory.stages)
        self._followed = [_Followed(name, PatientCalls()) for name in names if self._installed(name)]

    def open(self) -> None:
        """Open all trackers, and tell those that are new to the run what it has been through."""
        if self._followed:
            with self._directory.stage("tracking"):
                for each in tuple(self._followed):
                    self._open(each)

    def heard(self, event: Mapping[str, Any]) -> None:
        """A line of the log."""
        if told := self._events.told(event):
            self._tell(told, BETWEEN_S)

    def end(self, state: str) -> None:
        """The search has come to a state, one of `STATES`."""
        if any(each.tracker for each in self._followed):
            self._tell(partial(self._events.tell_end, self._directory.path, state), ENDS_S)
        for each in self._followed:
            each.calls.close()

    def _installed(self, name: str) -> bool:
        library = registry.load("trackers", name).LIBRARY
        found = find_spec(library) is not None
        if not found:  # before the search begins
            self._off(name, f"there is no library '{library}'; pip install {library}")
        return found

    def _open(self, followed: _Followed) -> None:
        found = self._tried(followed, partial(self._opened, followed.name), ENDS_S)
        if found is not None:
            followed.tracker, known = found
            self._directory.write(TRACKED, json.dumps({**known, followed.name: followed.tracker.identity}).encode())

    def _opened(self, name: str) -> tuple[Tracker, dict[str, str]]:
        """A tracker that knows the run as far as it has come, and by what earlier ones of the run are known."""
        path = self._directory.path
        known: dict[str, str] = json.loads(self._directory.read(TRACKED) or b"{}")
        run = TrackedRun(
            name=path.resolve().name,
            folder=path / TRACKING / name,
            settings=parameters(read_recipe(path)),
            identity=known.get(name, ""),
        )
        tracker: Tracker = registry.load("trackers", name).create(run)
        missed = [] if name in known else events_of(whole_lines(path / LOG), path / LOG)
        for told in filter(None, map(self._events.told, missed)):
            told(tracker)
        return tracker, known

    def _tell(self, told: Callable[[Tracker], None], limit_s: float) -> None:
        for each in tuple(self._followed):
            if (tracker := each.tracker) is not None:
                self._tried(each, partial(told, tracker), limit_s)

    def _tried(self, followed: _Followed, call: Callable[[], Any], limit_s: float) -> Any:
        try:
            return followed.calls(call, limit_s)
        except Exception as error:  # of a library or its server: the search is not to be lost for it
            slow = isinstance(error, TimeoutError) and not str(error)
            self._off(followed.name, f"no answer within {limit_s:g} s" if slow else describe(error))
            self._followed.remove(followed)
            followed.calls.close()
            return None

    def _off(self, name: str, why: str) -> None:
        self._reporter.warn(f"tracker '{name}' is off, and the search goes on: {why}")
