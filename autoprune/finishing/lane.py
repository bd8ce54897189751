"""What is trained side by side: candidates, each by one or several recipes. Knows in what recipes differ; not which one
is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from autoprune.finetuning.finetune import RATE
from autoprune.options.defaults import DISTILL
from autoprune.options.training_options import TrainingOptions
from autoprune.tasks.task import Task


@dataclass(frozen=True, order=True, kw_only=True)
class Variant:
    """What a recipe differs in from the one that was asked for.

    Attributes:
        rate: Times the learning rate that was found.
        distill: What is learned from the dense model; empty: as was asked for.
    """

    rate: float = 1.0
    distill: str = ""

    @property
    def name(self) -> str:
        """Of one that differs in something; empty for the recipe itself."""
        rate = f"rate-x{self.rate:g}" if self.rate != 1 else ""
        distill = f"distill-{self.distill}" if self.distill else ""
        return "-".join(part for part in (rate, distill) if part)

    def of(self, asked: TrainingOptions) -> TrainingOptions:
        """The options of this recipe."""
        rate = asked.rate if self.rate == 1 else (asked.rate or RATE) * self.rate
        return replace(asked, rate=rate, distill=self.distill or asked.distill)


@dataclass(frozen=True, order=True)
class Lane:
    """A candidate that is trained by one recipe."""

    candidate: int
    variant: Variant = Variant()

    @property
    def name(self) -> str:
        """Of its files."""
        return "-".join(part for part in (str(self.candidate), self.variant.name) if part)

    @property
    def told(self) -> str:
        """The same for people."""
        return f"trial {self.candidate}" + (f" ({self.variant.name})" if self.variant.name else "")

    def to_json(self) -> dict[str, Any]:
        return {"candidate": self.candidate, "rate": self.variant.rate, "distill": self.variant.distill}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Lane:
        return cls(raw["candidate"], Variant(rate=raw["rate"], distill=raw["distill"]))


#: Recipes beside the default one, the likeliest to be better first.
_OTHERS: Final = (Variant(rate=2.0), Variant(distill="none"), Variant(rate=0.5))


def variants(task: Task, asked: TrainingOptions) -> tuple[Variant, ...]:
    """Recipes to try, the asked one first; what somebody has said stays in all of them."""
    if task.train is not None:
        return (Variant(),)
    rate = asked.rate is None and task.optimizer is None
    taught = asked.distill == DISTILL and task.distance is not None and task.loss is not None
    return (Variant(), *(each for each in _OTHERS if (taught if each.distill else rate)))
