"""What a regularizer adds to gradients, step by step. Knows its strength, and what of it a later process must know.

The penalty is weighed by the loss of a phase's first batch: what is asked for is a share of it, and not a number that
would mean another thing for each model and each loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune import registry
from autoprune.errors import UsageError
from autoprune.finetuning.coupled import CoupledWeights
from autoprune.finetuning.regularizers import RegularizerContext, Strength, checked
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced
from autoprune.tasks.task import Task

_WEIGHT, _GOING = "penalty.weight", "penalty.going."


class Penalty:
    """A regularizer for one phase of one model."""

    def __init__(self, options: TrainingOptions, weights: CoupledWeights, going: Mapping[str, Tensor]) -> None:
        """options: with the regularizer's name; weights: of the model; going: what the next cut takes of them.

        Raises:
            UsageError: the regularizer has no such options.
        """
        self._module = registry.load("regularizers", options.regularizer)
        self._weights, self._going = weights, going
        self._options = checked(self._module, options.regularizer_options)
        self._strength = Strength.of(self._options)
        self._share, self._weight = 1.0, math.nan

    def at(self, step: int, steps: int) -> None:
        """Say which step of a phase comes next, from 0 on, and of how many."""
        self._share = self._strength.share(step, steps)

    def add(self, loss: float) -> None:
        """Add to the gradients of the weights; loss: of the batch."""
        found = self.weighed(loss)
        if found.requires_grad:
            found.backward()

    def weighed(self, loss: float) -> Tensor:
        """What is added to the loss of a batch at this step, a scalar."""
        value = self.value()
        if math.isnan(self._weight):
            size = float(value.detach())
            self._weight = self._strength.highest * abs(loss) / size if size else 0.0
        return self._share * self._weight * value

    def value(self) -> Tensor:
        """The penalty as it is, a scalar; not weighed.

        Raises:
            UsageError: the model has nothing that the regularizer acts on.
        """
        found: Tensor = self._module.penalty(
            RegularizerContext(
                groups=self._weights.groups(),
                parameters=self._weights.parameters,
                held=self._weights.held,
                going=self._going,
                factors=self._weights.factors,
                options=self._options,
            )
        )
        return found

    def state(self) -> dict[str, Tensor]:
        """What the next step needs beside the model."""
        going = {f"{_GOING}{name}": each.cpu() for name, each in self._going.items()}
        return {_WEIGHT: torch.tensor(self._weight, dtype=torch.float64), **going}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; one that has none of it is of a phase without a penalty."""
        if _WEIGHT in state:
            self._weight = float(state[_WEIGHT])
            # What goes was ranked when the phase began, by weights that nobody has any more.
            self._going = {
                name: state.get(f"{_GOING}{name}", each).to(each.device) for name, each in self._going.items()
            }


def check_regularizer(options: TrainingOptions, task: Task, traced: Traced) -> None:
    """Try a regularizer once on the dense model.

    Args:
        options: With its name and options.
        task: With the dense model.
        traced: Its groups.

    Raises:
        UsageError: it has no such options, nothing to act on, or no finite number to return; or the task has no loss,
            or trains by itself.
    """
    if task.train is not None:
        raise UsageError(
            expected=f"a training whose gradients the regularizer '{options.regularizer}' may add to",
            received="a task with a train of its own",
            cure="leave out --regularizer, or Task.train",
        )
    weights = CoupledWeights(CutModel(task.model), traced)
    if not weights.parameters:
        raise UsageError(
            expected=f"weights that are trained in the groups that may be cut, for '{options.regularizer}'",
            received="none",
            cure="leave out --regularizer, or let gradients flow to them (requires_grad_)",
        )
    if task.loss is None:  # of the distance to itself, which is zero, the dense model has no share
        raise UsageError(
            expected="a task with a loss, of which the regularizer's penalty is a share",
            received=f"'{task.name}' without one",
            cure="pass Task(loss=...), or leave out --regularizer",
        )
    with torch.no_grad():
        value = Penalty(options, weights, weights.held).value()
    if not isinstance(value, Tensor) or value.numel() != 1 or not math.isfinite(float(value)):
        raise UsageError(
            expected=f"one finite number from the regularizer '{options.regularizer}'",
            received=f"{list(value.shape)}" if isinstance(value, Tensor) and value.numel() != 1 else repr(value),
            cure="correct its penalty(context), or the model's weights if they are no numbers",
        )
