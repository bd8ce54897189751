"""What one search is asked to do, and where it is kept. Knows records only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.core.budget import Budget
from autoprune.core.callbacks import NOBODY, Callbacks
from autoprune.core.clock import Clock
from autoprune.core.deadline import Deadline
from autoprune.core.reporter import Reporter
from autoprune.engine.prepare import Prepared
from autoprune.engine.settings import Settings
from autoprune.engine.timetable import Pace
from autoprune.searching.forecasting import proxy_metric_of
from autoprune.store.run import RunDirectory


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """A search, new or gone on with.

    Attributes:
        directory: Of the run.
        prepared: The task, traced and opened.
        budget: With every limit.
        settings: How it runs.
        clock: That tells seconds.
        reporter: Told what users should know.
        began: The recipe of the process that began it; None where it is new.
        propose: Whether new candidates are looked for.
        pace: How long things take, once that is known.
        callbacks: Told of each candidate, the front, and each epoch.
    """

    directory: RunDirectory
    prepared: Prepared
    budget: Budget
    settings: Settings
    clock: Clock
    reporter: Reporter
    began: Mapping[str, Any] | None = None
    propose: bool = True
    pace: Pace = field(default_factory=Pace)
    callbacks: Callbacks = NOBODY

    @property
    def new(self) -> bool:
        """Whether no earlier process worked on it."""
        return self.began is None

    @property
    def deadline(self) -> Deadline:
        """By which all is to be done; what earlier processes took counts."""
        limit = self.settings.effort.deadline
        left = math.inf if limit is None else limit - self.directory.seconds
        return Deadline(clock=self.clock, end=self.clock.wall() + left)

    @property
    def proxy_metric(self) -> str:
        """What tells better than the task's quality how a model was hurt."""
        return proxy_metric_of(self.prepared.task.metrics)
