"""Runs beside each other: what each is, in which state, how large, and what of it can go. Knows the files of a run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autoprune.errors import StorageError
from autoprune.store.files import PARTIAL, lines_of, storing
from autoprune.store.lock import holder
from autoprune.store.reading import FRONT, MEASUREMENTS, RECIPE, entry, read_front, read_recipe

#: What a run can be, the first where somebody works on it.
STATES: Final = ("running", "finished", "stopped", "unfinished", "unreadable")
#: What is made again by a command, or belongs to an unfinished fine-tuning alone.
_PAGE, _CHECKPOINTS = "report.html", "checkpoints"
#: All that a run writes; a folder with anything else is not removed.
_OWN: Final = frozenset(
    {RECIPE, FRONT, MEASUREMENTS, _PAGE, _CHECKPOINTS, "LOCK", "models", "log.jsonl", "subject.json", "forecast.json",
     "data.json", "dense.json", "ranking.safetensors", "study.journal", "front.png", "decisions.md", "exported"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run in a line.

    Attributes:
        path: Its directory.
        state: One of `STATES`; "stopped" has a partial front, "unfinished" none.
        task: What was searched.
        budget: Limits as they are written.
        trials: Candidates that were evaluated.
        best: The number of its best trial; None where nothing met the budget.
        metrics: The best trial's measurements of what was limited or traded off, by key.
        begun: When its recipe was written, by the last search in it; seconds since the epoch.
        size: Bytes of all its files.
        error: Why it is unreadable.
    """

    path: Path
    state: str
    task: str = ""
    budget: tuple[str, ...] = ()
    trials: int = 0
    best: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    begun: float = 0.0
    size: int = 0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path), "budget": list(self.budget), "metrics": dict(self.metrics)}


def runs_in(places: Iterable[Path]) -> list[RunSummary]:
    """Each place where it is a run, else the runs right below it; the latest last.

    Raises:
        StorageError: a place that cannot be read.
    """
    found: dict[Path, RunSummary] = {}
    for place in places:
        with storing(place):
            inside = [place] if (place / RECIPE).exists() else [each for each in place.iterdir() if each.is_dir()]
        for path in inside:
            if (path / RECIPE).exists():
                found[path.resolve()] = summarised(path)
    return sorted(found.values(), key=lambda run: run.begun)


def summarised(run: Path) -> RunSummary:
    """One run in a line; what cannot be read is said in it."""
    known: dict[str, Any] = {"path": run, "begun": (run / RECIPE).stat().st_mtime, "size": _size(run)}
    try:
        recipe = read_recipe(run)
        front = read_front(run) if (run / FRONT).exists() else None
    except StorageError as error:
        return RunSummary(**known, state="unreadable", error=error.received)
    if front is None:
        stages = [entry(line).get("stage") for line in lines_of(run / MEASUREMENTS)]
        state, trials, best = "unfinished", stages.count("search"), None
    else:
        state = "stopped" if front["partial"] else "finished"
        trials, best = front["trials"]["complete"] + front["trials"]["failed"], front["best"]
    point = next((each for each in front["front"] if each["trial"] == best), None) if front else None
    wanted = dict.fromkeys([*recipe.get("objectives", ()), *(text.partition("<")[0] for text in recipe["budget"])])
    return RunSummary(
        **known,
        state="running" if holder(run) else state,
        task=str(recipe["task"]),
        budget=tuple(recipe["budget"]),
        trials=trials,
        best=best,
        metrics={key: point["metrics"][key] for key in wanted if key in point["metrics"]} if point else {},
    )


def dispensable(run: Path) -> list[Path]:
    """What of a run nobody needs who keeps its results: its page, and what an ended fine-tuning left.

    Raises:
        StorageError: somebody works on it.
    """
    _check_idle(run)
    ended = (run / FRONT).exists() and not read_front(run)["partial"]
    named = [run / _PAGE, *([run / _CHECKPOINTS] if ended else [])]
    return [*filter(Path.exists, named), *run.rglob(f"*{PARTIAL}")]


def removable(run: Path) -> Path:
    """The run, if all in it is its own and nobody works on it.

    Raises:
        StorageError: it is not.
    """
    begun = (run / RECIPE).exists()
    strange = sorted(each.name for each in run.iterdir() if each.name not in _OWN) if begun else []
    if strange or not begun:
        raise StorageError(
            expected=f"nothing but a run in {run}",
            received=", ".join(strange[:4]) or f"no {RECIPE}",
            cure="move away what is yours" if strange else "give the directory of a run",
        )
    _check_idle(run)
    return run


def remove(path: Path) -> int:
    """Remove a file or a folder; the bytes that are free now."""
    size = _size(path)
    with storing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return size


def _check_idle(run: Path) -> None:
    if by := holder(run):
        raise StorageError(
            expected=f"{run} to be at rest", received=f"it is held by {by}", cure="wait for that search, or stop it"
        )


def _size(path: Path) -> int:
    """Bytes of all files; what vanishes meanwhile has none."""
    total = 0
    for each in path.rglob("*") if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):
            total += each.lstat().st_size if not each.is_dir() else 0
    return total
