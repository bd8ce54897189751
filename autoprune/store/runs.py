"""Runs beside each other: what each is, in which state, how large, and what of it can go. Knows the files of a run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autoprune.errors import StorageError
from autoprune.store.files import left_in, lines_of, storing
from autoprune.store.lock import RunLock, holder
from autoprune.store.reading import (
    BUNDLE,
    BUNDLES,
    CHECKPOINTS,
    EXPORTED,
    FRONT,
    MEASUREMENTS,
    RECIPE,
    entry,
    places,
    read_front,
    read_recipe,
)

#: What a run can be, the first where somebody works on it.
STATES: Final = ("running", "finished", "stopped", "unfinished", "unreadable")
#: What is made again by a command.
_PAGE: Final = "report.html"
#: All files that a run writes, but for exports and bundles; a folder with anything else is not removed.
_OWN: Final = re.compile(
    r"LOCK|run\.yaml|front\.json|measurements\.jsonl|log\.jsonl|study\.journal|report\.html|decisions\.md|front\.png"
    r"|(subject|forecast|data|dense|renewal|tracking)\.json|tracking/.+|ranking\.safetensors"
    r"|checkpoints/\d+(-[\w.-]+)?\.(safetensors|sent)"
    r"|models/\d+/(plan\.json|baseline\.json|model\.safetensors|README\.md)"
)
#: Where exports and bundles lie, by the card that is in each.
_CARDS: Final = ("models/*/*/export.json", f"models/*/{EXPORTED}/*/export.json", f"{BUNDLES}/*/{BUNDLE}")


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
        StorageError: a place that is no folder, or cannot be read.
    """
    found: dict[Path, RunSummary] = {}
    for place in places:
        if not place.is_dir():
            raise StorageError(
                expected="a run, or a folder of runs",
                received=f"{place}, which is {'a file' if place.exists() else 'not there'}",
                cure="check the path",
            )
        with storing(place):
            inside = [place] if (place / RECIPE).exists() else [each for each in place.iterdir() if each.is_dir()]
        for path in inside:
            if (path / RECIPE).exists():
                found[path.resolve()] = summarised(path)
    return sorted(found.values(), key=lambda run: run.begun)


def summarised(run: Path) -> RunSummary:
    """One run in a line; what cannot be read is said in it."""
    known: dict[str, Any] = {"path": run, "begun": (run / RECIPE).stat().st_mtime, "size": size(run)}
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
    wanted = dict.fromkeys([*recipe.get("objectives", ()), *(re.split("[<>]", text)[0] for text in recipe["budget"])])
    return RunSummary(
        **known,
        state="running" if holder(run) else state,
        task=str(recipe["task"]),
        budget=tuple(recipe["budget"]),
        trials=trials,
        best=best,
        metrics={key: point["metrics"][key] for key in wanted if key in point["metrics"]} if point else {},
    )


@contextlib.contextmanager
def cleanable(runs: Iterable[Path], *, whole: bool = False) -> Iterator[list[Path]]:
    """What of runs can go; as long as it is open, nobody else works on them.

    Args:
        runs: Their directories.
        whole: They themselves, not only what nobody needs who keeps their results: their pages, and what an ended
            fine-tuning or a kill left.

    Returns:
        Files and folders, none of which lies in another one.

    Raises:
        StorageError: one of them is no run, or somebody works on it; with `whole`, one has what no run writes, or an
            export that is being written.
    """
    with contextlib.ExitStack() as locks:
        found: list[Path] = []
        for run in {each.resolve(): each for each in runs}.values():
            if not (run / RECIPE).exists():
                raise StorageError(
                    expected=f"a run in {run}", received=f"no {RECIPE}", cure="give the directory of a run"
                )
            if by := holder(run):
                raise StorageError(
                    expected=f"{run} to be at rest",
                    received=f"it is held by {by}",
                    cure="wait for that search, or stop it",
                )
            with storing(run):
                locks.callback(RunLock(run).release)
            if whole:
                _check_own(run)
            found += [run] if whole else _dispensable(run)
        inner = {path.resolve() for path in found}
        yield [path for path in found if inner.isdisjoint(path.resolve().parents)]


def size(path: Path) -> int:
    """Bytes of all files; what vanishes meanwhile has none."""
    total = 0
    for each in path.rglob("*") if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):
            total += each.lstat().st_size if not each.is_dir() else 0
    return total


def _dispensable(run: Path) -> list[Path]:
    ended = (run / FRONT).exists() and not read_front(run)["partial"]
    named = [run / _PAGE, *([run / CHECKPOINTS] if ended else [])]
    return [*filter(Path.exists, named), *left_in(places(run))]


def _check_own(run: Path) -> None:
    known = {card.parent for pattern in _CARDS for card in run.glob(pattern)} | {*left_in(places(run))}
    files = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_symlink() or not path.is_dir()]
    strange = [
        str(path)
        for path in files
        if not _OWN.fullmatch(path.as_posix()) and not any(run / each in known for each in (path, *path.parents))
    ]
    if strange:
        raise StorageError(
            expected=f"nothing but a run in {run}",
            received=", ".join(strange[:4]),
            cure="move away what is yours; exports that are being written end by themselves",
        )
