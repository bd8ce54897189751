"""How a model is fine-tuned. Knows numbers and their legal ranges; not who trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoprune.core.defaults import CRITERION, REPAIR, SCHEDULE
from autoprune.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The length and the rate of a fine-tuning.

    Attributes:
        epochs: Passes over the train split.
        steps: Batches of a pass at most; 0: all of them.
        rate: The highest learning rate; None: what is found by trying, or what the task's own optimizer has.
        schedule: In how many phases the model is cut meanwhile.
        schedule_options: Of the schedule, by name.
        criterion: By which slices of later phases are ranked.
        repair: By which models of later phases are healed.

    Raises:
        UsageError: a value outside of its legal range.
    """

    epochs: int
    steps: int = 0
    rate: float | None = None
    schedule: str = SCHEDULE
    schedule_options: Mapping[str, str] = field(default_factory=dict)
    criterion: str = CRITERION
    repair: str = REPAIR

    @property
    def told(self) -> str:
        """What differs from the default, beside epochs; empty where nothing does."""
        steps = f", {self.steps} steps" if self.steps else ""
        options = " ".join(f"{name}={value}" for name, value in sorted(self.schedule_options.items()))
        schedule = "" if self.schedule == SCHEDULE else f", {self.schedule} {options}".rstrip()
        return steps + ("" if self.rate is None else f", rate {self.rate:g}") + schedule

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise UsageError(
                expected="finetune_steps of at least 0",
                received=repr(self.steps),
                cure="pass a whole number, 0 for whole passes",
            )
        number = isinstance(self.rate, int | float) and not isinstance(self.rate, bool)
        if self.rate is not None and not (number and 0 < self.rate < math.inf):
            raise UsageError(
                expected="a positive, finite learning rate", received=repr(self.rate), cure="write for example 5e-4"
            )
