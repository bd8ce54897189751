"""What a run has written, for whoever only reads it. Knows its files and their schemas; takes no lock, writes nothing,
and so may look while a search runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from autoprune.core.forecast import Forecast
from autoprune.errors import StorageError, describe
from autoprune.store.files import lines_of, storing

FRONT: Final = "front.json"
RECIPE: Final = "run.yaml"
MEASUREMENTS: Final = "measurements.jsonl"
LOG: Final = "log.jsonl"
SUBJECT: Final = "subject.json"
FORECAST: Final = "forecast.json"
DENSE: Final = "dense.json"
DATA: Final = "data.json"
RENEWAL: Final = "renewal.json"
DECISIONS: Final = "decisions.md"
CHECKPOINTS: Final = "checkpoints"
#: What trackers of the run write, a folder each, and by what each knows the run again.
TRACKING: Final = "tracking"
TRACKED: Final = "tracking.json"
#: Beside a model: where its exports lie that were not told where to.
EXPORTED: Final = "exported"
#: Where a run's bundles lie, each with its card; and that card, as programs read it.
BUNDLES: Final = "bundles"
BUNDLE: Final = "bundle.json"
#: Of a front.json, what is always there.
_FIELDS: Final = frozenset(
    {"run", "task", "budget", "objectives", "partial", "seconds", "trials", "dense", "front", "best", "test"}
)
#: Of the run directory as a whole. 1: trials were kept in measurements.jsonl only; it can be read, not resumed.
SCHEMA: Final = 2
#: Of a line of measurements.jsonl, and of those events that are read again by their name, what is always there.
_TRIAL: Final = {"state": str, "feasible": bool, "plan": dict, "metrics": dict, "seconds": dict}
_EVENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "stage": {"stage": str, "took": int | float},
    "trial": {"trials": int},
    "epoch": {"trial": int, "epoch": int},
    "learning rate": {"rate": int | float, "losses": dict},
    "recipe": {"trial": int, "recipe": str},
    "rank correlation": {"first": str, "then": str, "spearman": int | float, "candidates": int},
    "finished": {"partial": bool},
}
_CARD: Final = {"policy": str, "told": str, "metrics": dict, "members": list}
_LARGEST_RECIPE: Final = 64 << 20
_WHICH: Final = "give the directory of a run; `autoprune runs list` shows those below runs/"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that a run has written so far, as decoded JSON.

    Attributes:
        path: The run directory.
        recipe: `run.yaml`.
        front: `front.json`; None where no search in it has ended.
        dense: The dense model's measurements as the search aims at them; empty before it was looked at.
        subject: The model's groups, how much of it can be cut, and the task's qualities; empty in runs that have none.
        forecast: What levels were expected to cost and to hurt; None where nobody looked ahead.
        trials: Every trial of the stage "search", by number.
        finished: The latest measurements of each finished model, by trial.
        events: The lines of the log.
        bundles: What `read_bundles` gives.
    """

    path: Path
    recipe: Mapping[str, Any]
    front: Mapping[str, Any] | None
    dense: Mapping[str, Any]
    subject: Mapping[str, Any]
    forecast: Forecast | None
    trials: Mapping[int, Mapping[str, Any]]
    finished: Mapping[int, Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    bundles: Sequence[Mapping[str, Any]] = ()

    @property
    def has_finished_models(self) -> bool:
        """Whether its front is of finished models: that of a search that was stopped is of candidates."""
        return self.front is not None and not self.front["partial"]


def read_run(run: Path) -> RunRecord:
    """What a run has written so far.

    Raises:
        StorageError: it is no run, another version wrote it, or a file of it is damaged.
    """
    recipe = read_recipe(run)
    stages: dict[str, dict[int, dict[str, Any]]] = {"search": {}, "final": {}}
    for found in map(entry, lines_of(run / MEASUREMENTS)):
        if found.get("stage") in stages and "trial" in found:
            stages[found["stage"]][found["trial"]] = _whole(found, _TRIAL, run / MEASUREMENTS)
    return RunRecord(
        path=run,
        recipe=recipe,
        front=read_front(run) if (run / FRONT).exists() else None,
        dense=_object(run / DENSE) or {},
        subject=_object(run / SUBJECT) or {},
        forecast=Forecast.decoded((run / FORECAST).read_bytes()) if (run / FORECAST).exists() else None,
        trials=dict(sorted(stages["search"].items())),
        finished=dict(sorted(stages["final"].items())),
        events=events_of(lines_of(run / LOG), run / LOG),
        bundles=read_bundles(run),
    )


def read_bundles(run: Path) -> list[dict[str, Any]]:
    """What the cards of a run's bundles tell: name, policy, in words what it does, numbers of members, metrics.

    Raises:
        StorageError: one is damaged.
    """
    found = []
    for path in sorted(run.glob(f"{BUNDLES}/*/{BUNDLE}")):
        card = _whole(_object(path) or {}, _CARD, path)
        own = {key: card[key] for key in ("policy", "told", "metrics")}
        found.append({"name": path.parent.name, **own, "members": [each["name"] for each in card["members"]]})
    return found


def places(run: Path) -> list[Path]:
    """The folders of a run in which files and exports are written, as far as they are there."""
    found = [run, run / CHECKPOINTS, run / BUNDLES, *run.glob("models/*"), *run.glob(f"models/*/{EXPORTED}")]
    return [each for each in found if each.is_dir()]


def events_of(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    """The events of a log, in their order; lines that are no events are none.

    Raises:
        StorageError: an event lacks what others of its name have; `path` is told.
    """
    found = [each for each in map(entry, lines) if "event" in each and isinstance(each.get("seconds"), int | float)]
    return [_whole(each, _EVENTS.get(str(each["event"]), {}), path) for each in found]


def seconds_by_stage(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each stage so far, in the order in which stages were first told."""
    found: dict[str, float] = {}
    for each in events:
        if each["event"] == "stage":
            found[each["stage"]] = found.get(each["stage"], 0.0) + each["took"]
    return found


def _whole(found: dict[str, Any], fields: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A line that has these fields, each of its kind."""
    if wrong := [name for name, kind in fields.items() if not isinstance(found.get(name), kind)]:
        raise StorageError(
            expected=f"{' and '.join(wrong)} in each such line of {path}",
            received=json.dumps(found)[:80],
            cure="remove that line, or restore the file from a copy",
        )
    return found


def _object(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no such file."""
    if not path.exists():
        return None
    try:
        with storing(path):
            found = json.loads(path.read_bytes())
    except ValueError as error:
        found = describe(error)
    if not isinstance(found, dict):
        cure = "restore it from a copy, or remove it: it is shown without"
        raise StorageError(expected=f"an object in {path}", received=str(found)[:80], cure=cure)
    return found


def read_recipe(run: Path) -> dict[str, Any]:
    """The checked content of a run's run.yaml.

    Raises:
        StorageError: there is none, or another version wrote it.
    """
    path = run / RECIPE
    try:
        with path.open("rb") as file:
            recipe = yaml.safe_load(file.read(_LARGEST_RECIPE))
    except Exception as error:  # of the file, or of what a tag makes of its text
        raise StorageError(expected=f"{RECIPE} in {run}", received=describe(error), cure=_WHICH) from error
    schema = recipe.get("schema", 1) if isinstance(recipe, dict) else None
    if schema == SCHEMA:
        return dict(recipe)
    versions = recipe.get("versions") if isinstance(recipe, dict) else None
    writer = versions.get("autoprune", "unknown") if isinstance(versions, dict) else "unknown"
    newer = isinstance(schema, int) and schema > SCHEMA
    raise StorageError(
        expected=f"a run of schema {SCHEMA} in {run}",
        received=f"schema {schema!r}, written by autoprune {writer}",
        cure="use that version or a later one" if newer else "`autoprune front` still reads it; search anew",
    )


def read_front(run: Path) -> dict[str, Any]:
    """The checked content of a run's front.json.

    Raises:
        StorageError: there is none, or it is of another schema.
    """
    try:
        front = json.loads((run / FRONT).read_bytes())
    except (OSError, ValueError) as error:
        begun = (run / RECIPE).exists()
        raise StorageError(
            expected=f"{FRONT} in {run}",
            received=describe(error),
            cure=f"end it with `autoprune resume {run}`" if begun else _WHICH,
        ) from error
    if isinstance(front, dict) and front.get("schema") == 1 and (missing := _FIELDS - front.keys()):
        raise StorageError(
            expected=f"a whole {FRONT} in {run}",
            received=f"one without {', '.join(sorted(missing))}",
            cure="restore it from a copy",
        )
    if not isinstance(front, dict) or front.get("schema") != 1:
        received = front.get("schema") if isinstance(front, dict) else type(front).__name__
        raise StorageError(
            expected=f"schema 1 in {run / FRONT}",
            received=repr(received),
            cure="use the version of autoprune that wrote it",
        )
    return front


def entry(line: str) -> dict[str, Any]:
    """The object of a line; empty where it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
