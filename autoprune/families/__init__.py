"""Model families: the files of `search_spaces/`. Knows where they lie and how they are read, strictly and safely."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, get_args

from autoprune.core.space import Family, Kind
from autoprune.errors import UsageError
from autoprune.families.document import read
from autoprune.registry import unknown

_DEFAULT: Final = "default"


def folder() -> Path:
    """Where the families lie: inside the installed package, or at the root of an editable install."""
    package = Path(str(importlib.resources.files("autoprune")))
    inside = package / "families" / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder().glob("*.yaml")))


def choose(wanted: str | None, classes: Iterable[str]) -> Family:
    """The family of that name or file; without one, the first that matches a module class name, else `default`.

    Raises:
        UsageError: no such name or file, or its text is not a family.
    """
    if wanted is None:
        present = set(classes)
        families = [load(folder() / f"{name}.yaml") for name in names() if name != _DEFAULT]
        return next((f for f in families if present & set(f.match)), load(folder() / f"{_DEFAULT}.yaml"))
    if wanted.endswith((".yaml", ".yml")):
        return load(Path(wanted))
    if wanted not in names():
        raise unknown("search space", wanted, names())
    return load(folder() / f"{wanted}.yaml")


def load(path: Path) -> Family:
    """One family from its file; unknown and missing keys are refused."""
    text = read(path)
    texts: Callable[[Any], bool] = lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value)  # noqa: E731
    count: Callable[[Any], bool] = lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1  # noqa: E731
    ratios: Callable[[Any], bool] = lambda value: (  # noqa: E731
        isinstance(value, list) and bool(value) and all(isinstance(each, int | float) and 0 < each <= 1 for each in value)
    )
    kinds = get_args(Kind)
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "match": (texts, "a list of module class names"),
        "kinds": (lambda value: texts(value) and set(value) <= set(kinds), f"a list out of {', '.join(kinds)}"),
        "frozen": (texts, "a list of regular expressions"),
        "step": (count, "a whole number of at least 1"),
        "floor": (count, "a whole number of at least 1"),
        "ladder": (ratios, "keep ratios above 0 and at most 1"),
    }
    if not isinstance(text, dict) or set(text) != set(checks):
        received = ", ".join(map(str, text)) if isinstance(text, dict) else type(text).__name__
        raise UsageError(expected=f"exactly the keys {', '.join(checks)} in {path}", received=received, cure="start from a file of search_spaces/")
    for key, (legal, form) in checks.items():
        if not legal(text[key]):
            raise UsageError(expected=f"{key} in {path} as {form}", received=repr(text[key]), cure="correct the file")
    lists = {key: tuple(text[key]) for key in ("match", "kinds", "frozen", "ladder")}
    return Family(path.stem, step=text["step"], floor=text["floor"], **lists)
