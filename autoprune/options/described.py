"""Which options count where: in help, in a run that goes on, in its record. Knows what fields say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any, Final

from autoprune.options.option import Option
from autoprune.options.search_options import SearchOptions

#: What decides how a run is fine-tuned, beside its effort.
TRAINING: Final = (
    "finetune_time", "finetune_lr", "finetune_steps", "finetune_patience", "finetune_precision",
    "trial_scheduler", "schedule", "schedule_options", "regularizer", "regularizer_options", "distill",
)  # fmt: skip


def described() -> Iterator[tuple[Field[Any], Option]]:
    """Every option in the order in which help lists them."""
    for item in fields(SearchOptions):
        yield item, item.metadata["option"]


def every() -> tuple[str, ...]:
    """Names of all options."""
    return tuple(item.name for item, _ in described())


def resumable() -> tuple[str, ...]:
    """Names of what may be another one in a run that goes on."""
    return tuple(item.name for item, each in described() if each.resumable)


def finetunable() -> tuple[str, ...]:
    """Names of what may be another one where a run is fine-tuned once more, which looks for no candidates."""
    return tuple(name for name in resumable() if name not in ("trials", "timeout", "until"))


def evaluable() -> tuple[str, ...]:
    """Names of what says how one plan is evaluated."""
    measured = "profiler", "device", "batch", "threads", "precision", "meter", "rate"
    return "space", "criterion", "repair", *measured, "seed"


def renewable() -> tuple[str, ...]:
    """Names of what may be another one where a run is made anew: all but what follows from the old one."""
    return tuple(name for name in every() if name not in ("run", "plans", "guarantee"))


def recorded() -> tuple[str, ...]:
    """Names of what `run.yaml` has among the settings."""
    return tuple(item.name for item, each in described() if each.recorded)
