"""What a program is told while a search runs: each candidate, the front, and each epoch of fine-tuning, with their
numbers. Knows records and how a callback may fail; not what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT, Reporter
from autoprune.core.trial import Trial
from autoprune.errors import UsageError, describe


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch of fine-tuning of one candidate.

    Attributes:
        trial: Its number.
        plan: What it keeps.
        epoch: How many it has been trained for, this one included.
        epochs: For how many it is trained, if it gets so far.
        loss: Of the last batch.
        metrics: Its scores on the search split; none after an epoch that decides nothing.
        recipe: In what its training differs from what was asked for; empty for nothing.
    """

    trial: int
    plan: Plan
    epoch: int
    epochs: int
    loss: float
    metrics: Mapping[str, Measurement]
    recipe: str = ""


@dataclass(frozen=True, kw_only=True)
class FrontReport:
    """The front of the candidates so far.

    Attributes:
        trials: How many candidates were evaluated by then.
        objectives: What is traded off.
        front: Trials that no other one beats, by ascending cost.
        best: Of those within the budget the best; None where there is none.
        volume: What the front dominates, as a share of the box that the search looks at.
    """

    trials: int
    objectives: tuple[Metric, ...]
    front: tuple[Trial, ...]
    best: Trial | None
    volume: float


class Callbacks:
    """Functions of the user's, called with records that cannot be changed; one that fails is reported once."""

    def __init__(
        self,
        on_trial: Callable[[Trial], Any] | None = None,
        on_epoch: Callable[[EpochReport], Any] | None = None,
        on_front: Callable[[FrontReport], Any] | None = None,
        reporter: Reporter = SILENT,
    ) -> None:
        """Raises UsageError: what is no function."""
        for name, given in (("on_trial", on_trial), ("on_epoch", on_epoch), ("on_front", on_front)):
            if given is not None and not callable(given):
                raise UsageError(
                    expected=f"{name} as a function of one record",
                    received=type(given).__name__,
                    cure=f"write for example {name}=print",
                )
        self._on_trial, self._on_epoch, self._on_front, self._reporter = on_trial, on_epoch, on_front, reporter
        self._told: set[str] = set()

    def trial(self, trial: Trial) -> None:
        """A candidate was evaluated, or failed."""
        self._call("on_trial", self._on_trial, _unchangeable(trial))

    def front(self, report: FrontReport) -> None:
        """A candidate more is known."""
        if self._on_front is None:  # a copy of the front each time would be for nobody
            return
        best = None if report.best is None else _unchangeable(report.best)
        shown = replace(report, front=tuple(map(_unchangeable, report.front)), best=best)
        self._call("on_front", self._on_front, shown)

    def epoch(self, report: EpochReport) -> None:
        """A candidate was trained for an epoch more."""
        self._call("on_epoch", self._on_epoch, replace(report, metrics=MappingProxyType(dict(report.metrics))))

    def _call(self, name: str, function: Callable[[Any], Any] | None, record: Any) -> None:
        if function is None:
            return
        try:
            function(record)
        except Exception as error:  # of the user's program; the search is not to be lost for it
            said = f"{name} failed, and the search goes on: {describe(error)}"
            if said not in self._told:
                self._told.add(said)
                self._reporter.warn(said)


def _unchangeable(trial: Trial) -> Trial:
    measured, beyond = MappingProxyType(dict(trial.measurements)), MappingProxyType(dict(trial.excesses))
    return replace(trial, measurements=measured, excesses=beyond)


#: Where nobody listens.
NOBODY: Final = Callbacks()
