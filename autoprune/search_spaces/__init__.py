"""Search spaces by kind of model: the files of `search_spaces/`. Knows where they lie and how they
are read, strictly and safely."""

from __future__ import annotations

import importlib.resources
import os
import warnings
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from autoprune.errors import UsageError
from autoprune.registry import first_sentence, suggestion, unknown
from autoprune.search_spaces.document import read
from autoprune.search_spaces.space_config import Space, SpaceConfig, known

_DEFAULT: Final = "default"
_NEEDED: Final = {"kinds", "keep_ratios"}

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


def choose(wanted: Space, classes: Iterable[str]) -> SpaceConfig:
    """The search space of that name, file or object; without one, the best that matches a module class name, else
    `default`.

    Raises:
        UsageError: no such name or file, or its text is none.
    """
    if wanted is None:
        present = set(classes)
        search_spaces = [load(folder() / f"{name}.yaml") for name in names()]
        fitting = [config for config in search_spaces if any(map(config.fits, present))]
        default = next(config for config in search_spaces if config.name == _DEFAULT)
        return max(fitting, key=lambda config: config.priority, default=default)
    if isinstance(wanted, SpaceConfig):
        return wanted
    if isinstance(wanted, Mapping):
        return _made(wanted, "a search space")
    if not isinstance(wanted, str | os.PathLike):
        raise UsageError(
            expected="a search space by name, a YAML file, or an autoprune.SpaceConfig",
            received=type(wanted).__name__,
            cure="pass for example autoprune.SpaceConfig(kinds=['channel'], keep_ratios=[1.0, 0.5])",
        )
    path = os.fspath(wanted)
    if path.endswith((".yaml", ".yml")):
        return load(Path(path))
    if path not in names():
        raise unknown("search space", path, names())
    return load(folder() / f"{path}.yaml")


def is_own(wanted: Space) -> bool:
    """Whether somebody wrote it for one model, so that each of its patterns is to match something there."""
    return wanted is not None and wanted not in names()


def load(path: Path) -> SpaceConfig:
    """One search space from its file; unknown keys are refused."""
    text = read(path)
    if isinstance(text, dict):
        for old, new in _FORMERLY.items():
            if old in text and new not in text:
                warnings.warn(f"{path}: '{old}' is called '{new}' now", DeprecationWarning, stacklevel=2)
                text = {new if key == old else key: value for key, value in text.items()}
    return _made(text, str(path), name=path.stem)


def _made(text: Any, where: str, **more: Any) -> SpaceConfig:
    """The configuration that a mapping describes."""
    legal = (*known(), *({"name"} - more.keys()))
    if not isinstance(text, Mapping) or not set(text) <= set(legal) or not set(text) >= _NEEDED:
        given = tuple(map(str, text)) if isinstance(text, Mapping) else ()
        strange = next((key for key in given if key not in legal), "")
        hint = suggestion(strange, [key for key in legal if key not in given])
        raise UsageError(
            expected=f"kinds, keep_ratios, and at most the keys {', '.join(known())} in {where}",
            received=", ".join(given) or type(text).__name__,
            cure=f"{hint}write for example kinds: [channel] and keep_ratios: [1.0, 0.75, 0.5]",
        )
    return SpaceConfig(**text, **more)
