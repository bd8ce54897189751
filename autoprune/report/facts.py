"""What the numbers of a run rest on: its device, settings and versions, where its seconds went, and the commands that
repeat it. Knows records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.report.command import search_command
from autoprune.store.reading import RunRecord

#: What of a recipe says how candidates were made.
_HOW: Final = ("criterion", "repair", "sampler", "schedule", "distill", "regularizer")


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Pairs of a name and a text."""
    recipe, front = record.recipe, record.front
    space, effort = recipe.get("search_space", {}), recipe.get("effort", {})
    devices = front.get("devices", {"": front["profiler"]}) if front else {}
    return [
        ("task", str(recipe["task"])),
        *((f"device {name}".strip(), _listed(found)) for name, found in devices.items()),
        ("search space", f"{space.get('family', '')}, {len(space.get('levels', {}))} groups"),
        ("effort", f"up to {effort.get('trials')} candidates, {effort.get('epochs')} epochs of fine-tuning"),
        ("how", _listed({name: recipe[name] for name in _HOW if name in recipe})),
        ("seed", str(recipe.get("seed", ""))),
        ("versions", _listed(recipe.get("versions", {}))),
    ]


def seconds_by_stage(record: RunRecord) -> list[tuple[str, float]]:
    """The longest stage first."""
    found: dict[str, float] = {}
    for each in record.events:
        if each["event"] == "stage":
            found[each["stage"]] = found.get(each["stage"], 0.0) + each["took"]
    told = record.front.get("stages", {}) if record.front else found
    return sorted(((name, round(took, 2)) for name, took in told.items() if took > 0), key=lambda each: -each[1])


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """What to type for what."""
    said = [("search again", search_command(record.recipe)), ("this page again", f"autoprune report {record.path}")]
    best = record.front["best"] if record.front else None
    load = f'autoprune.load("{record.path}/models/{best}")'
    return said if best is None else [*said, ("load the best, in Python", load)]


def _listed(named: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {each}" for name, each in named.items())
