"""The command that repeats a search. Knows the recipe of a run and how options are written; not what they do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field
from typing import Any, Final

from autoprune.core.effort import Effort
from autoprune.options.defaults import PROFILER
from autoprune.options.described import described
from autoprune.options.option import Option

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
    """`autoprune search` with all that a recipe has beyond the defaults and a command line can say."""
    words = ["autoprune", "search", str(recipe["task"])]
    for limit in recipe.get("budget") or ():
        words += ["--budget", str(limit)]
    for name in recipe.get("objectives") or ():
        words += ["--objective", str(name)]
    for item, option, value in _chosen(recipe):
        flag = f"--{option.flag or item.name.replace('_', '-')}".partition("/")[0]
        for text in _texts(item, option, value) or ():
            words += [flag, text] if text else [flag]
    return shlex.join(words)


def left_out(recipe: Mapping[str, Any]) -> list[str]:
    """Names of the options that the command lacks, as their values are no words: plans that were read from files, a
    search space that is an object."""
    return [item.name for item, option, value in _chosen(recipe) if _texts(item, option, value) is None]


def _chosen(recipe: Mapping[str, Any]) -> Iterator[tuple[Field[Any], Option, Any]]:
    """Options beyond their defaults, with their values."""
    effort = recipe.get("effort") or {}
    for item, option in described():
        if item.name in _EFFORT:
            value, default = effort.get(_EFFORT[item.name]), getattr(Effort, _EFFORT[item.name])
        else:
            value = recipe.get(item.name)
            default = item.default if item.default_factory is MISSING else item.default_factory()
        if value not in (None, "", default, _SETTLED.get(item.name)) and (value or default):
            yield item, option, value


def _texts(item: Field[Any], option: Option, value: Any) -> list[str] | None:
    """A value as it is written after its flag, once for each time that the flag is given; empty for a flag alone. None
    where no words say it."""
    if isinstance(value, Mapping | list):
        words = [f"{name}={each}" for name, each in value.items()] if isinstance(value, Mapping) else value
        plain = value.values() if isinstance(value, Mapping) else value
        several = option.shell == list[str]
        return list(words) if several and not any(isinstance(each, Mapping | list) for each in plain) else None
    if isinstance(value, bool):
        return [""] if value else []
    return [f"{value:g}s" if item.name in _TIMES and not isinstance(value, str) else str(value)]
