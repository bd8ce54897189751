"""Search spaces by kind of model: the files of `search_spaces/`. Knows where they lie and how they
are read, strictly and safely."""

from __future__ import annotations

import importlib.resources
import re
import warnings
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, get_args

from autoprune.core.group import Kind
from autoprune.core.pattern import Pattern
from autoprune.core.space_config import SpaceConfig
from autoprune.errors import UsageError
from autoprune.registry import first_sentence, unknown
from autoprune.search_spaces.document import read

_DEFAULT: Final = "default"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _kinds(value: Any) -> bool:
    return _texts(value) and set(value) <= set(get_args(Kind))


def _patterns(value: Any) -> bool:
    try:
        return _texts(value) and all(re.compile(each) for each in value)
    except re.error:
        return False


def _zeros(value: Any) -> bool:
    try:
        return bool(Pattern.parse(value)) if isinstance(value, str) else False
    except UsageError:
        return False


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _ratios(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(each, int | float) for each in value)
    return numbers and bool(value) and all(0 < each <= 1 for each in value)


def _counts(value: Any) -> bool:
    by_kind = isinstance(value, dict) and set(value) <= set(get_args(Kind)) and all(map(_count, value.values()))
    return by_kind or _count(value)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "match": (_patterns, "a list of regular expressions on class names"),
    "priority": (_number, "a whole number"),
    "kinds": (_kinds, f"a list out of {', '.join(get_args(Kind))}"),
    "frozen": (_patterns, "a list of regular expressions"),
    "step": (_counts, "a whole number of at least 1, or one a kind"),
    "floor": (_counts, "a whole number of at least 1, or one a kind"),
    "keep_ratios": (_ratios, "a list of keep ratios above 0 and at most 1"),
    "tied": (_patterns, "a list of regular expressions"),
    "pattern": (_zeros, "unstructured, N:M such as 2:4, or a block such as 4x4"),
}


#: What a file leaves out.
_USUAL: Final = {"match": [], "priority": 0, "frozen": [], "step": 1, "floor": 1, "tied": [], "pattern": "unstructured"}


#: What keys were called before version 0.2, which still reads them.
_FORMERLY: Final = {"ladder": "keep_ratios"}


def folder() -> Path:
    """Where the files lie: inside the installed package, or at the root of an editable install."""
    package = Path(str(importlib.resources.files("autoprune")))
    inside = package / "search_spaces" / "files"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder().glob("*.yaml")))


def about(name: str) -> str:
    """The first sentence of the comment that a search space's file begins with."""
    lines = (folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return first_sentence(" ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)))


def choose(wanted: str | None, classes: Iterable[str]) -> SpaceConfig:
    """The search space of that name or file; without one, the best that matches a module class name, else `default`.

    Raises:
        UsageError: no such name or file, or its text is none.
    """
    if wanted is None:
        present = set(classes)
        search_spaces = [load(folder() / f"{name}.yaml") for name in names()]
        fitting = [config for config in search_spaces if any(map(config.fits, present))]
        default = next(config for config in search_spaces if config.name == _DEFAULT)
        return max(fitting, key=lambda config: config.priority, default=default)
    if isinstance(wanted, str) and wanted.endswith((".yaml", ".yml")):
        return load(Path(wanted))
    if wanted not in names():
        raise unknown("search space", wanted, names())
    return load(folder() / f"{wanted}.yaml")


def load(path: Path) -> SpaceConfig:
    """One search space from its file; unknown keys are refused."""
    text = read(path)
    if isinstance(text, dict):
        for old, new in _FORMERLY.items():
            if old in text and new not in text:
                warnings.warn(f"{path}: '{old}' is called '{new}' now", DeprecationWarning, stacklevel=2)
                text = {new if key == old else key: value for key, value in text.items()}
    if not isinstance(text, dict) or not set(text) <= set(_CHECKS) or not {"kinds", "keep_ratios"} <= set(text):
        received = ", ".join(map(str, text)) if isinstance(text, dict) else type(text).__name__
        raise UsageError(
            expected=f"kinds, keep_ratios, and at most the keys {', '.join(_CHECKS)} in {path}",
            received=received,
            cure="start from a file of search_spaces/",
        )
    text = {**_USUAL, **text}
    for key, (legal, form) in _CHECKS.items():
        if not legal(text[key]):
            raise UsageError(expected=f"{key} in {path} as {form}", received=repr(text[key]), cure="correct the file")
    lists = {key: tuple(text[key]) for key in ("match", "kinds", "frozen", "keep_ratios", "tied")}
    return SpaceConfig(
        path.stem, step=text["step"], floor=text["floor"], priority=text["priority"], pattern=text["pattern"], **lists
    )
