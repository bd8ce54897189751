"""Where a search is followed beside its run directory. Knows the contract; each file beside this one is one library.

A tracker is a module with `LIBRARY`, the package that it imports when it is asked for and no sooner, and
`create(run) -> Tracker`. All calls of one tracker come from one thread, one after the other. What it raises, or a call
that does not come back, costs a search no more than a line: it is off from then on. Without a word of the user's, as
libraries take it from their own environment variables, it writes to this machine only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

#: What a search can have come to.
STATES: Final = ("finished", "stopped", "failed")


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """The search that is followed.

    Attributes:
        name: Of its run directory.
        folder: In the run directory, for files of this tracker; nobody has made it yet.
        settings: All that decides the search, by dotted names: "effort.trials".
        identity: The tracker's own `identity` in the process that began the run; empty where it has not followed it.
    """

    name: str
    folder: Path
    settings: Mapping[str, str | int | float | bool]
    identity: str = ""


@dataclass(frozen=True, kw_only=True)
class TrackedModel:
    """A pruned model with its numbers.

    Attributes:
        trial: The number of its trial.
        plan: What is kept of each group.
        metrics: Qualities and costs by name; none where it failed. SI units.
        feasible: Whether it is within the budget.
        best: Whether it is the best of the finished ones.
    """

    trial: int
    plan: Mapping[str, int]
    metrics: Mapping[str, float]
    feasible: bool
    best: bool = False


class Tracker(Protocol):
    """Follows one search.

    identity: by which the same run is found again where a search goes on; empty where it needs none.
    """

    identity: str

    def trial(self, model: TrackedModel) -> None:
        """A candidate was evaluated, as it was repaired, or failed."""
        ...

    def scalars(self, values: Mapping[str, float], step: int, trial: int | None = None) -> None:
        """Finite numbers by name ("search/volume") at a step: of the search after so many trials; or of a trial's
        model after so many epochs of fine-tuning."""
        ...

    def finished(self, model: TrackedModel) -> None:
        """A model of the front, as the search ends."""
        ...

    def artifact(self, path: Path, name: str) -> None:
        """A file of the run that is worth keeping, and its name with slashes: "models/3/README.md"."""
        ...

    def close(self, state: str) -> None:
        """The search has come to one of `STATES`."""
        ...
