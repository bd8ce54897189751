"""How a model is fine-tuned. Knows numbers and their legal ranges; not who trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoprune.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The length and the rate of a fine-tuning.

    Attributes:
        epochs: Passes over the train split.
        steps: Batches of a pass at most; 0: all of them.
        rate: The highest learning rate; None: what is found by trying, or what the task's own optimizer has.

    Raises:
        UsageError: a value outside of its legal range.
    """

    epochs: int
    steps: int = 0
    rate: float | None = None

    @property
    def told(self) -> str:
        """What differs from the default, beside epochs; empty where nothing does."""
        steps = f", {self.steps} steps" if self.steps else ""
        return steps + ("" if self.rate is None else f", rate {self.rate:g}")

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise UsageError(
                expected="finetune_steps of at least 0",
                received=repr(self.steps),
                cure="pass a whole number, 0 for whole passes",
            )
        if self.rate is not None and not (0 < self.rate < math.inf):
            raise UsageError(
                expected="a positive, finite learning rate", received=repr(self.rate), cure="write for example 5e-4"
            )
