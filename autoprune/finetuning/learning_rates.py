"""The learning rates of each step of a training. Knows optimizers and schedulers; not gradients, or what is trained."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from autoprune.errors import TaskError, describe

#: The share of all steps, and of the first epoch at most, over which the rate rises to its height.
_WARM: Final = 0.1


class LearningRates:
    """Of an optimizer, whose own rates are the highest ones: by the user's scheduler, or `share_at`."""

    def __init__(self, optimizer: Optimizer, scheduler: Callable[[Optimizer, int], Any] | None) -> None:
        """scheduler: (optimizer, steps of the whole training) -> one of torch's, which is stepped after each step."""
        self._optimizer, self._make = optimizer, scheduler
        self._highest = [group["lr"] for group in optimizer.param_groups]
        self._made: LRScheduler | None = None
        self._done = 0

    def set(self, step: int, steps: int, epoch: int) -> None:
        """Set those of a step.

        Args:
            step: From 0 on; never one before the last.
            steps: Of all epochs.
            epoch: Of one of them.

        Raises:
            TaskError: the user's function raises, or returns no scheduler of this optimizer.
        """
        if self._make is None:
            share = share_at(step, steps, epoch)
            for group, rate in zip(self._optimizer.param_groups, self._highest, strict=True):
                group["lr"] = rate * share
            return
        try:
            self._made = self._made or _scheduler(self._make(self._optimizer, steps), self._optimizer)
            # A training that goes on elsewhere catches up without steps of the optimizer.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r".*`lr_scheduler\.step\(\)` before `optimizer\.step\(\)`")
                for _ in range(step - self._done):
                    self._made.step()
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(
                expected=f"Task.scheduler to be a schedule of {steps} steps",
                received=describe(error),
                cure="take as many steps as the function is told, its second argument",
            ) from error
        self._done = step


def _scheduler(made: Any, optimizer: Optimizer) -> LRScheduler:
    if isinstance(made, LRScheduler) and not isinstance(made, ReduceLROnPlateau) and made.optimizer is optimizer:
        return made
    raise TaskError(
        expected="Task.scheduler to return a torch scheduler of the optimizer, which needs no metric",
        received=type(made).__name__,
        cure="write for example scheduler=lambda optimizer, steps: "
        "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)",
    )


def share_at(step: int, steps: int, epoch: int) -> float:
    """The share of the highest rate at a step: a linear rise (Goyal et al. 2017), then a cosine to zero.

    Args:
        step: From 0 on.
        steps: Of all epochs.
        epoch: Of one of them.
    """
    warm = max(min(round(_WARM * steps), epoch), 1)
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * min((step - warm) / max(steps - warm, 1), 1.0))) / 2
