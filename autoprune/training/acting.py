"""What acts on a model of the user's own in one phase of a schedule: gates, a penalty. Knows when; not what they do."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.plan import Plan
from autoprune.finetuning.coupled import CoupledWeights
from autoprune.finetuning.penalty import Penalty
from autoprune.options.defaults import REGULARIZER
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced
from autoprune.training.gating import Gating
from autoprune.training.live_model import LiveModel
from autoprune.training.schedules import Phase


class Acting:
    """Nothing, until a phase begins that wants it."""

    def __init__(self, live: LiveModel, traced: Traced, options: TrainingOptions) -> None:
        """live: the model; traced: its groups; options: with the regularizer's name.

        Raises:
            UsageError: there is no such regularizer, or nothing that it acts on.
        """
        self._live, self._traced, self._options = live, traced, options
        if options.regularizer != REGULARIZER:
            weights = CoupledWeights(CutModel(live.bare), traced)
            with torch.no_grad():
                Penalty(options, weights, weights.held).value()
        self._gating: Gating | None = None
        self._leave: Callable[[], Any] | None = None
        self._penalty: Penalty | None = None

    def begin(self, phase: Phase, smaller: Plan | None, ranking: Callable[[], Mapping[str, Tensor]]) -> None:
        """Let act what a phase wants.

        Args:
            phase: That begins, or is gone on with.
            smaller: To what the model is cut after it; all slices for a plan that nobody knows yet, None for nothing.
            ranking: Scores of slices as they are.

        Raises:
            UsageError: gates find nothing to act on.
        """
        self.end()
        if phase.gate:
            live = self._live.root, self._live.parameters
            self._gating = Gating(phase, CutModel(self._live.plain()), self._traced, 0, live)
            self._leave = weakref.finalize(self, self._gating.end)
        if smaller is not None and self._options.regularizer != REGULARIZER:
            weights = CoupledWeights(CutModel(self._live.bare), self._traced)
            known = smaller != phase.plan
            going = weights.going(ranking(), smaller) if known else weights.held
            self._penalty = Penalty(self._options, weights, going)

    def at(self, step: int, steps: int) -> None:
        """Say which step of the phase comes next, from 0 on, and of how many."""
        if self._gating is not None:
            self._gating.at(step, steps)
        if self._penalty is not None:
            self._penalty.at(step, steps)

    def step(self) -> None:
        """Learn from the gradients that there are; see `Gating.step`."""
        if self._gating is not None:
            self._gating.step()

    def penalty(self, loss: Tensor) -> Tensor:
        """What is added to a loss."""
        if self._penalty is None:
            return loss.new_zeros(())
        return self._penalty.weighed(float(loss.detach())).to(loss)

    def settle(self, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Scores of slices by gates, which parameters are multiplied by; nothing where no gates act."""
        return {} if self._gating is None else self._gating.settle(parameters)

    def leave(self) -> None:
        """Take gates off the model, as happens with the last reference to this; they learn no more."""
        if self._leave is not None:
            self._leave()

    def end(self) -> None:
        """Act no longer."""
        self.leave()
        self._gating = self._penalty = None

    def hidden(self) -> AbstractContextManager[None]:
        """The model without a trace of gates, inside."""
        return nullcontext() if self._gating is None else self._gating.detached()

    def state(self) -> dict[str, Tensor]:
        """What the next step needs beside the model."""
        return {name: each for part in (self._gating, self._penalty) if part for name, each in part.state().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state, in the phase that has begun.

        Raises:
            StorageError: it has other gates.
        """
        for part in (self._gating, self._penalty):
            if part is not None:
                part.load(state)
