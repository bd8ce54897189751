"""How a model is fine-tuned. Knows numbers and their legal ranges; not who trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from autoprune.core.weights import weighted
from autoprune.errors import UsageError
from autoprune.options.defaults import CRITERION, DISTILL, REGULARIZER, REPAIR, SCHEDULE

HALF: Final = "bfloat16"
#: In what a training may compute.
PRECISIONS: Final = ("float32", HALF)
#: Who says which models are trained on.
TRIAL_SCHEDULERS: Final = ("halving", "asha")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The length and the rate of a fine-tuning.

    Attributes:
        epochs: Passes over the train split.
        seconds: Wall time of the training of all models; None for no limit.
        steps: Batches of a pass at most; 0: all of them.
        patience: Epochs without a better score after which training ends, with the best epoch's weights; 0: it goes on.
        rate: The highest learning rate; None: what is found by trying, or what the task's own optimizer has.
        precision: Of what is computed, one of PRECISIONS; weights and the optimizer's state have that of the model.
        trial_scheduler: Who says which models are trained on, one of TRIAL_SCHEDULERS.
        schedule: In how many phases the model is cut meanwhile.
        schedule_options: Of the schedule, by name.
        distill: What is learned from the dense model: names of distillers with commas between, each with a colon and a
            weight where it is not 1.
        regularizer: What draws slices to zero, in phases after which some are cut.
        regularizer_options: Of the regularizer, by name.
        criterion: By which slices of later phases are ranked.
        repair: By which models of later phases are healed.

    Raises:
        UsageError: a value outside of its legal range.
    """

    epochs: int
    seconds: float | None = None
    steps: int = 0
    patience: int = 0
    rate: float | None = None
    precision: str = PRECISIONS[0]
    trial_scheduler: str = TRIAL_SCHEDULERS[0]
    schedule: str = SCHEDULE
    schedule_options: Mapping[str, str] = field(default_factory=dict)
    distill: str = DISTILL
    regularizer: str = REGULARIZER
    regularizer_options: Mapping[str, str] = field(default_factory=dict)
    criterion: str = CRITERION
    repair: str = REPAIR

    @property
    def told(self) -> str:
        """What differs from the default, beside epochs; empty where nothing does."""
        time = "" if self.seconds is None else f", {self.seconds:g} s"
        steps = f", {self.steps} steps" if self.steps else ""
        schedule = _named(self.schedule, self.schedule_options, SCHEDULE)
        regularizer = _named(self.regularizer, self.regularizer_options, REGULARIZER)
        distill = "" if self.distill == DISTILL else f", distill {self.distill}"
        patience = f", patience {self.patience}" if self.patience else ""
        rate = "" if self.rate is None else f", rate {self.rate:g}"
        precision = "" if self.precision == PRECISIONS[0] else f", {self.precision}"
        by = "" if self.trial_scheduler == TRIAL_SCHEDULERS[0] else f", {self.trial_scheduler}"
        return time + steps + patience + rate + precision + by + schedule + regularizer + distill

    @property
    def distillers(self) -> Mapping[str, float]:
        """By name, with what weight each counts."""
        text = self.distill.replace("_", "-") if isinstance(self.distill, str) else self.distill
        return weighted(text, "distillers", "logits, or logits,features:0.5")

    def __post_init__(self) -> None:
        _ = self.distillers
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise UsageError(
                expected="finetune_steps of at least 0",
                received=repr(self.steps),
                cure="pass a whole number, 0 for whole passes",
            )
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 0:
            raise UsageError(
                expected="finetune_patience of at least 0",
                received=repr(self.patience),
                cure="pass a whole number of epochs, 0 to train to the end",
            )
        number = isinstance(self.rate, int | float) and not isinstance(self.rate, bool)
        if self.rate is not None and not (number and 0 < self.rate < math.inf):
            raise UsageError(
                expected="a positive, finite learning rate", received=repr(self.rate), cure="write for example 5e-4"
            )
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise UsageError(
                expected="a positive, finite finetune_time",
                received=repr(self.seconds),
                cure="write it as 90s, 10m or 2h",
            )
        if self.precision not in PRECISIONS:
            raise UsageError(
                expected=f"finetune_precision {' or '.join(PRECISIONS)}",
                received=repr(self.precision),
                cure="choose one of them",
            )
        if self.trial_scheduler not in TRIAL_SCHEDULERS:
            raise UsageError(
                expected=f"trial_scheduler {' or '.join(TRIAL_SCHEDULERS)}",
                received=repr(self.trial_scheduler),
                cure="choose one of them",
            )
        if self.regularizer_options and self.regularizer == REGULARIZER:
            raise UsageError(
                expected="a regularizer where there are options for one",
                received=", ".join(sorted(self.regularizer_options)),
                cure="pass --regularizer group-lasso, or another one",
            )


def _named(name: str, options: Mapping[str, str], usual: str) -> str:
    """What is told of a plug-in that is not the usual one."""
    told = " ".join(f"{option}={value}" for option, value in sorted(options.items()))
    return "" if name == usual else f", {name} {told}".rstrip()
