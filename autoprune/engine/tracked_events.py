"""What trackers are told of a search: lines of its log, and what it came to. Knows both; not which trackers there
are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from autoprune.models.folder import PLAN, README
from autoprune.report.page import REPORT
from autoprune.store.reading import DECISIONS, FRONT, RECIPE, read_run
from autoprune.trackers import TrackedModel, Tracker

#: Of the line of a trial, how the search is getting on by then, and what a tracker calls it.
_SEARCH: Final = {"hypervolume": "volume", "front": "front", "per_minute": "per_minute"}
#: Of the line of an epoch, what is no score.
_NO_SCORES: Final = ("seconds", "event", "trial", "recipe", "epoch")
#: Of a recipe, what is no parameter: every group with all its levels.
_NO_PARAMETERS: Final = ("search_space",)


class TrackedEvents:
    """Takes in the lines of a log; tells trackers how many trials there were by then, too."""

    def __init__(self, stages: Mapping[str, float]) -> None:
        """stages: seconds of each so far, kept up to date by whoever made it."""
        self._stages, self._trials = stages, 0

    def told(self, event: Mapping[str, Any]) -> Callable[[Tracker], None] | None:
        """What to do with a tracker at an event; None where it is not for trackers."""
        kind = event["event"]
        if kind == "trial":
            self._trials = event["trials"]
            state = {f"search/{name}": event.get(key) for key, name in _SEARCH.items()}
            return partial(_tell_trial, _candidate(event), _finite(state), self._trials)
        if kind == "stage":
            spent = {f"stages/{event['stage']}": self._stages.get(event["stage"], event["took"])}
            return partial(_tell_scalars, spent, self._trials, None)
        if kind == "epoch":
            series = f"training/{event['recipe']}" if event.get("recipe") else "training"
            scores = {f"{series}/{name}": value for name, value in event.items() if name not in _NO_SCORES}
            return partial(_tell_scalars, _finite(scores), event["epoch"], event["trial"])
        return None

    def tell_end(self, run: Path, state: str, tracker: Tracker) -> None:
        """Tell a tracker the models of the front, what each stage took, which files there are, and the state."""
        record = read_run(run)
        front = record.front or {"front": [], "stages": {}, "best": None}
        files = [RECIPE, FRONT, DECISIONS, REPORT]
        for point in front["front"]:
            number = point["trial"]
            plan = (record.finished.get(number) or record.trials[number])["plan"]
            values = {name: each["value"] for name, each in point["metrics"].items()}
            best = number == front["best"]
            tracker.finished(_model(number, plan, values, feasible=point["feasible"], best=best))
            files += [f"models/{number}/{name}" for name in (PLAN, README)]
        spent = {f"stages/{name}": seconds for name, seconds in front.get("stages", {}).items()}
        tracker.scalars(_finite(spent), self._trials)
        for name in files:
            if (run / name).exists():
                tracker.artifact(run / name, name)
        tracker.close(state)


def parameters(recipe: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """A recipe as names with dots and plain values; what is empty is left out."""
    return dict(_plain({name: value for name, value in recipe.items() if name not in _NO_PARAMETERS}))


def _plain(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _plain(value, f"{above}{name}.")
        elif value not in (None, "", []):
            yield f"{above}{name}", value if isinstance(value, str | int | float) else ", ".join(map(str, value))


def _candidate(event: Mapping[str, Any]) -> TrackedModel:
    return _model(event["trial"], event["plan"], event["metrics"], feasible=event["feasible"])


def _model(
    number: int, plan: Mapping[str, int], metrics: Mapping[str, Any], *, feasible: bool, best: bool = False
) -> TrackedModel:
    return TrackedModel(trial=number, plan=dict(plan), metrics=_finite(metrics), feasible=feasible, best=best)


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _tell_trial(model: TrackedModel, state: Mapping[str, float], step: int, tracker: Tracker) -> None:
    tracker.trial(model)
    tracker.scalars(state, step)


def _tell_scalars(values: Mapping[str, float], step: int, trial: int | None, tracker: Tracker) -> None:
    tracker.scalars(values, step, trial)
