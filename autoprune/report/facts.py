"""What the numbers of a run rest on: its device, settings and versions, where its seconds went, and the commands that
repeat it. Knows records."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

from autoprune.report.command import left_out, search_command
from autoprune.report.table import loading
from autoprune.store.reading import RECIPE, RunRecord, seconds_by_stage

#: What of a recipe says how candidates were made.
_HOW: Final = ("criterion", "repair", "sampler", "schedule", "distill", "regularizer")


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Pairs of a name and a text."""
    recipe, front = record.recipe, record.front
    space, effort = recipe.get("search_space", {}), recipe.get("effort", {})
    devices = front.get("devices", {"": front["profiler"]}) if front else {}
    return [
        ("task", str(recipe["task"])),
        *((f"device {name}".strip(), _device(found)) for name, found in devices.items()),
        ("search space", f"{space.get('family', '')}, {len(space.get('levels', {}))} groups"),
        ("effort", f"up to {effort.get('trials')} candidates, {effort.get('epochs')} epochs of fine-tuning"),
        ("how", _listed({name: recipe[name] for name in _HOW if name in recipe})),
        ("seed", str(recipe.get("seed", ""))),
        ("versions", _listed(recipe.get("versions", {}))),
        *(("not in the command", f"{name}, which {RECIPE} has") for name in left_out(recipe)),
    ]


def stages(record: RunRecord) -> list[tuple[str, float]]:
    """Seconds of each stage, the longest first."""
    told = record.front.get("stages", {}) if record.front else seconds_by_stage(record.events)
    return sorted(((name, round(took, 2)) for name, took in told.items() if took > 0), key=lambda each: -each[1])


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """What to type for what."""
    page = shlex.join(["autoprune", "report", str(record.path)])
    said = [("search again", search_command(record.recipe)), ("this page again", page)]
    if record.front is None or record.front["best"] is None:
        return said
    return [*said, ("load the best, in Python", loading(record.front, record.path))]


def _device(used: Mapping[str, object]) -> str:
    """How models were run: what was told of the device, in words."""
    words = {"name": "profiler {}", "threads": "threads: {}", "batch": "batch: {}"}
    ordered = sorted(used.items(), key=lambda each: each[0] != "device")
    return ", ".join(words.get(name, "{}").format(each) for name, each in ordered if each)


def _listed(named: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {each}" for name, each in named.items())
