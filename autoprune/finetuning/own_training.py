"""An epoch of a training that is the user's own. Knows how it is called and what it reports; not what it does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.errors import AutopruneError, TaskError, describe
from autoprune.finetuning.stepping import after_steps
from autoprune.surgery.random_state import forked_random

#: Takes a loss, as a number or a tensor of one.
Report = Callable[[float | Tensor], None]
_FORM: Final = "train=a function of the model, the epoch (from 0 on) and report, which takes the loss"


def check_own_training(train: Callable[..., Any]) -> None:
    """Whether it can be called as it will be.

    Raises:
        TaskError: it takes other arguments.
    """
    try:
        inspect.signature(train).bind(nn.Identity(), 0, float)
    except TypeError as error:
        raise TaskError(
            expected="Task.train to take a model, an epoch and report", received=str(error), cure=f"pass {_FORM}"
        ) from error
    except ValueError:  # of what is written in C nobody knows the arguments
        return


def own_epoch(
    train: Callable[[nn.Module, int, Report], None],
    model: nn.Module,
    epoch: int,
    seed: int,
    after_step: Callable[[], None],
) -> float:
    """Train for one epoch, leaving eval mode.

    Args:
        train: The user's function.
        model: Trained in place; in train mode when it is handed over.
        epoch: From 0 on.
        seed: Of torch's random numbers meanwhile.
        after_step: Called after each step of an optimizer of this model's parameters, and at the end.

    Returns:
        The loss that was reported last, nan without any.

    Raises:
        TaskError: it raised, or reported no finite number.
    """
    losses = [math.nan]

    def report(loss: float | Tensor) -> None:
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        if not math.isfinite(value):
            raise TaskError(
                expected="a finite loss from Task.train",
                received=f"{value:g} in epoch {epoch}",
                cure="check its learning rate, or its data",
            )
        losses.append(value)

    model.train()
    hook = after_steps(model.parameters(), after_step)
    try:
        with torch.enable_grad(), forked_random(seed):
            train(model, epoch, report)
    except AutopruneError:
        raise
    except Exception as error:
        raise TaskError(
            expected=f"Task.train to train for epoch {epoch}", received=describe(error), cure=f"mend it: {_FORM}"
        ) from error
    finally:
        hook.remove()
        model.eval()
    after_step()
    return losses[-1]
