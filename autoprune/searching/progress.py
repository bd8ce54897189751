"""How a search is getting on. Knows the front so far, its volume and the pace; not where any of it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from autoprune.core import quantity
from autoprune.core.callbacks import FrontReport
from autoprune.core.clock import Clock
from autoprune.core.effort import Effort
from autoprune.core.front import Front, hypervolume
from autoprune.core.goal import SearchGoal
from autoprune.core.trial import Trial

#: How many times as long as it took to find the volume it is left as it is: of many objectives that may be seconds.
_RARELY: Final = 50
#: The exact volume of more coordinates takes minutes on fronts of some hundred points.
_EXACT: Final = 3
_PLACES: Final = 8192
#: A box that is deeper than usual ends so many times as far from dense as the best that was reached.
_REACHED: Final = 1.2


class Progress:
    """Takes in trials as they come. The front is kept, so that each costs no more than a comparison with it."""

    def __init__(self, goal: SearchGoal, effort: Effort, clock: Clock, workers: int) -> None:
        self._goal, self._objectives = goal, goal.objectives
        self._effort, self._clock, self._workers = effort, clock, workers
        self._start, self._begun, self._observed, self._spent = clock.wall(), 0, 0, 0.0
        self._front = Front((), self._objectives, None)
        self._volume, self._rest, self._depth = 0.0, 0.0, 1.0
        self._measured: tuple[int, ...] = ()

    def resume(self, trials: Sequence[Trial], spent: float = 0.0) -> None:
        """Trials of earlier processes, and the seconds that they took: they count, but not for the pace."""
        self._spent = spent
        self._observed = self._begun = len(trials)
        self._front = Front.of(trials, self._objectives)

    def add(self, trial: Trial, busy: int) -> dict[str, Any]:
        """A trial more, and how many workers are busy; the state of things, for a log."""
        self._observed += 1
        best = () if self._front.best is None else (self._front.best,)
        self._front = Front.of((*self._front.trials, *best, trial), self._objectives)
        pace = self._pace()
        return {
            "trials": self._observed,
            "front": len(self._front.trials),
            "best": None if self._front.best is None else self._front.best.number,
            "hypervolume": round(self.volume(), 4),
            "per_minute": None if pace is None else round(60 * pace, 2),
            "busy": busy,
        }

    def front(self) -> FrontReport:
        """The front so far."""
        trials, best = self._front.trials, self._front.best
        return FrontReport(
            trials=self._observed, objectives=self._objectives, front=trials, best=best, volume=self._volume
        )

    def line(self, state: Mapping[str, Any]) -> str:
        """The same, for people."""
        best = self._front.best
        shown = "nothing within the budget so far"
        if best is not None:
            values = (f"{m.name} {quantity.show(best.value(m.name), m.unit)}" for m in self._objectives)
            shown = f"best {', '.join(values)}"
        deeper = f" in a box {self._depth:.1f} times as deep as usual" if self._depth > 1 else ""
        parts = [f"front {state['front']}", shown, f"volume {state['hypervolume']:.3f}{deeper}"]
        left = self._left()
        if state["per_minute"] is not None and left is not None:
            parts += [f"{state['per_minute']:.0f}/min", f"{quantity.spell(left)} left"]
        if self._workers > 1:
            parts.append(f"{state['busy']}/{self._workers} busy")
        return ", ".join(parts)

    def volume(self) -> float:
        """What the front dominates of the box between nothing at the dense quality and the dense cost at a quality of
        20 points less, or further down where all that was reached lies below that; 1 is all of it. As it last was,
        where it is known or takes long to be had."""
        numbers, began = tuple(trial.number for trial in self._front.trials), self._clock.wall()
        if numbers == self._measured or began < self._rest:
            return self._volume
        points = [self._goal.scaled([trial.value(m.name) for m in self._objectives]) for trial in self._front.trials]
        self._depth = self._deep(points)
        boxed = [self._within(point) for point in points]
        self._volume, self._measured = _volume(boxed), numbers
        now = self._clock.wall()
        self._rest = now + _RARELY * (now - began)
        return self._volume

    def _deep(self, points: Sequence[tuple[float, ...]]) -> float:
        """How many times as deep as usual the box must be for the front to reach into it."""
        place = self._goal.quality
        if place is None or not points:
            return 1.0
        below = [point[place] for point in points if all(point[k] < 1 for k in range(len(point)) if k != place)]
        return max(1.0, _REACHED * min(below, default=1.0))

    def _within(self, point: tuple[float, ...]) -> tuple[float, ...]:
        place = self._goal.quality
        return tuple(value / self._depth if k == place else value for k, value in enumerate(point))

    def _pace(self) -> float | None:
        passed = self._clock.wall() - self._start
        return (self._observed - self._begun) / passed if passed > 0 else None

    def _left(self) -> float | None:
        """Seconds until trials or time are spent."""
        pace = self._pace()
        if not pace:
            return None
        left = max(self._effort.trials - self._observed, 0) / pace
        if self._effort.seconds is not None:
            left = min(left, max(self._effort.seconds - self._spent - (self._clock.wall() - self._start), 0.0))
        return left


def _volume(points: Sequence[tuple[float, ...]]) -> float:
    """What points dominate up to 1 in every coordinate; of many coordinates by random places, always the same."""
    count = len(points[0]) if points else 1
    if count <= _EXACT:
        return hypervolume(points, (1.0,) * count)
    inside = np.array(points)
    low = np.minimum(inside.min(axis=0), 0.0)
    places = low + np.random.default_rng(0).random((_PLACES, count)) * (1 - low)
    covered = np.zeros(_PLACES, bool)
    for point in inside:
        covered |= (point <= places).all(axis=1)
    return float(covered.mean() * np.prod(1 - low))


def overhead_of(trials: Sequence[Trial], wall: float, workers: int) -> float:
    """The share of the workers' wall time that was neither evaluation nor measurement; NaN where there was none, or
    where one overlapped with the other."""
    busy = sum(trial.timing.total for trial in trials)
    return 1 - busy / (wall * workers) if trials and wall > 0 and busy <= wall * workers else math.nan
