"""The command that repeats a search. Knows the recipe of a run and how options are written; not what they do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from typing import Any, Final

from autoprune.core.defaults import PROFILER
from autoprune.core.effort import Effort
from autoprune.core.options import described

#: Options that a recipe has among its effort.
_EFFORT: Final = {
    "trials": "trials",
    "timeout": "seconds",
    "deadline": "deadline",
    "finetune_epochs": "epochs",
    "finalists": "finalists",
}
#: Times, which are written with a unit.
_TIMES: Final = ("timeout", "deadline", "finetune_time")
#: What is settled where nobody says it.
_SETTLED: Final = {"profiler": PROFILER, "threads": 1}


def search_command(recipe: Mapping[str, Any]) -> str:
    """`autoprune search` with all that a recipe has beyond the defaults; what only `run.yaml` can say is left out."""
    words = ["autoprune", "search", str(recipe["task"])]
    for limit in recipe.get("budget") or ():
        words += ["--budget", str(limit)]
    for name in recipe.get("objectives") or ():
        words += ["--objective", str(name)]
    return shlex.join([*words, *_options(recipe)])


def _options(recipe: Mapping[str, Any]) -> Iterator[str]:
    effort = recipe.get("effort") or {}
    for item, option in described():
        if item.name in _EFFORT:
            value, default = effort.get(_EFFORT[item.name]), getattr(Effort, _EFFORT[item.name])
        else:
            value = recipe.get(item.name)
            default = item.default if item.default_factory is MISSING else item.default_factory()
        if value in (None, "", default, _SETTLED.get(item.name)) or (not value and not default):
            continue
        flag = f"--{option.flag or item.name.replace('_', '-')}"
        for text in _texts(value, seconds=item.name in _TIMES and not isinstance(value, str)):
            yield from (flag.partition("/")[0], text) if text else (flag.partition("/")[0],)


def _texts(value: Any, *, seconds: bool) -> Iterator[str]:
    """A value as it is written after its flag, once for each time that the flag is given; empty for a flag alone."""
    if seconds:
        yield f"{value:g}s"
    elif isinstance(value, bool):
        yield from [""] if value else []
    elif isinstance(value, Mapping):
        yield from (f"{name}={each}" for name, each in value.items() if isinstance(each, str))
    elif isinstance(value, list):
        yield from (each for each in value if isinstance(each, str))
    else:
        yield str(value)
