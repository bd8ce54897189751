"""The learning rate of a fine-tuning, found by trying. Knows a few steps of each rate; not the epochs that follow.

Each rate is tried on a copy of the same repaired model and on the same batches, under the schedule of a whole training;
from a middling one up or down, as long as the loss falls. Every rate begins from the repaired model: what a high one
spoils must not count against the next, as it would where the rate changes within one training (Smith 2017, range test).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import torch

from autoprune.core.reporter import Reporter
from autoprune.finetuning.finetune import Training, loss_of
from autoprune.finetuning.teacher import Teacher
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import Traced, twin
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import learning
from autoprune.surgery.random_state import forked_random
from autoprune.tasks.task import Task

#: Rates for AdamW, and the first of them to try; steps of each, and batches that its loss is told from.
RATES: Final = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_FIRST: Final = 3
_STEPS, _BATCHES = 24, 8
#: Of a training that is hardly longer than that, the part that each rate is tried for, and the fewest steps that tell.
_PART: Final = 1 / 3
_FEWEST: Final = 8
#: Batches that finding a rate takes as a rule.
TRIED: Final = 4 * (_STEPS + _BATCHES)
#: More steps bear a higher rate than few do: by the root of how many times as many they are, up to this.
_HIGHER: Final = 4.0
#: A lower rate is to leave less loss than this share: where few steps hardly tell, many gain from the higher one.
_LOWER: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class FoundRate:
    """rate: for the whole training; losses: by rate, what a few steps of it left."""

    rate: float
    losses: Mapping[float, float]


def find_rate(
    cut: CutModel,
    task: Task,
    options: TrainingOptions,
    seed: int,
    reporter: Reporter,
    traced: Traced | None = None,
) -> FoundRate:
    """Try rates on copies of a repaired model.

    Args:
        cut: The model; it stays as it is.
        task: With a loss or a distance.
        options: Of the training that the rate is for.
        seed: Of the batches.
        reporter: Told of each trial.
        traced: As in `Teacher`.

    Returns:
        The rate, and what was seen.
    """
    teacher, losses = Teacher.of(task, options, traced), dict[float, float]()
    whole = options.epochs * (options.steps or task.split("train").count or _STEPS)
    steps = max(min(_STEPS, math.ceil(_PART * whole)), _FEWEST)
    with reporter.track("trying learning rates", len(RATES)) as advance:

        def loss_at(place: int) -> float:
            rate = RATES[place]
            if rate not in losses:
                losses[rate] = _tried(cut, task, teacher, replace(options, rate=rate, epochs=1, steps=steps), seed)
                advance(f"rate {rate:g}, loss {losses[rate]:.4g}")
            return losses[rate]

        best = _FIRST
        for step, worth in ((1, 1.0), (-1, _LOWER)):
            while 0 <= best + step < len(RATES) and loss_at(best + step) < worth * loss_at(best):
                best += step
    more = min(max(math.sqrt(whole / steps), 1.0), _HIGHER)
    return FoundRate(rate=float(f"{min(RATES[best] * more, RATES[-1]):.2g}"), losses=losses)


def _tried(cut: CutModel, task: Task, teacher: Teacher | None, options: TrainingOptions, seed: int) -> float:
    """The loss that a few steps leave; infinite where they come to no number."""
    tried = CutModel(twin(cut.model, meta=False)[0], cut.plan, cut.slices, cut.masks)
    training = Training(tried, task, teacher, options, seed)
    try:
        training.burst(endlessly(task), options.steps)
    except Exception:  # what fails at every rate fails again in the training, which says why
        return math.inf
    with torch.no_grad(), learning(tried.model), forked_random(seed):
        seen = [float(loss_of(task, teacher, tried, batch)) for batch in islice(task.batches("train"), _BATCHES)]
    loss = sum(seen) / len(seen)
    return loss if math.isfinite(loss) else math.inf


def endlessly(task: Task) -> Iterator[Any]:
    """Batches of "train", pass after pass."""
    while True:
        yield from task.batches("train")
