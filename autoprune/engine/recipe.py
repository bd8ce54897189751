"""What decides a search, as its run keeps it. Knows settings and what they are called; not what is done with them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from typing import Any, Final

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.engine.prepare import Prepared, describe_space
from autoprune.engine.settings import Settings
from autoprune.options.described import recorded
from autoprune.search_spaces.space_config import Space, SpaceConfig
from autoprune.store.ledger import masked

_RECORDED: Final = ("autoprune", "torch", "optuna", "numpy")


def recipe(prepared: Prepared, budget: Budget, objectives: list[str], settings: Settings) -> dict[str, Any]:
    """All that decides a search, ready for JSON and YAML; no password is in it."""
    return {
        "task": prepared.task.spec or prepared.task.name,
        "budget": [str(limit) for limit in budget.limits],
        "objectives": objectives,
        "effort": asdict(settings.effort),
        **{name: getattr(settings, name) for name in recorded()},
        "space": _plain(settings.space),
        "freeze": list(settings.freeze),
        "only": list(settings.only),
        "sampler": settings.sampler if isinstance(settings.sampler, str) else type(settings.sampler).__name__,
        "storage": masked(settings.storage),
        "search_space": describe_space(prepared),
    }


def _plain(space: Space) -> Any:
    """A search space as it is read again: an object as what it says, a file as its path."""
    if isinstance(space, SpaceConfig):
        return space.to_json()
    return os.fspath(space) if isinstance(space, os.PathLike) else space


def installed() -> dict[str, str]:
    """Versions of what a search rests on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _RECORDED}}


def understood(prepared: Prepared, budget: Budget) -> Iterator[str]:
    """What was understood, in words, before any work is done."""
    for limit in budget.limits:
        yield f"budget: {limit.meaning()}"
    space = describe_space(prepared)
    plans = quantity.magnitude(space["plans"])
    yield f"search space: {len(space['levels'])} groups, {plans} plans ({space['family']})"
