"""What happens in the phases of a schedule beside learning: slices are zeroed or gated, weights exchanged. Knows the
steps of one phase; not the phases before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from autoprune.finetuning.finetune import Training
from autoprune.finetuning.penalty import Penalty
from autoprune.finetuning.teacher import Teacher
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel
from autoprune.surgery.find import named_tensors
from autoprune.training.exchange import exchanged
from autoprune.training.gating import Gating
from autoprune.training.schedules import Phase, between
from autoprune.training.surgeon import Surgeon
from autoprune.training.thinning import thinned, zero
from autoprune.training.timeline import CHOICES, exchanged_at, share_of_cubic


class PhasedTraining(Training):
    """A training in which something happens to slices or weights beside learning."""

    def __init__(
        self,
        cut: CutModel,
        surgeon: Surgeon,
        teacher: Teacher | None,
        options: TrainingOptions,
        seed: int,
        now: Phase,
        penalty: Penalty | None,
    ) -> None:
        super().__init__(cut, surgeon.task, teacher, options, seed, penalty)
        self._traced, self._phase = surgeon.traced, now
        self._prepare()

    def _prepare(self) -> None:
        """What a kind remembers beside the model."""


class ThinningTraining(PhasedTraining):
    """A training in which more and more slices are zero."""

    def _prepare(self) -> None:
        self._target = self._phase.thinned_to or self._phase.plan
        self._kept: Mapping[str, Tensor] = {}
        self._chosen = -1

    def before_step(self, step: int, steps: int) -> None:
        """Choose slices anew where it is time, along the cubic."""
        super().before_step(step, steps)
        choice = step * CHOICES // max(steps, 1)
        if choice != self._chosen or step % max(self.length, 1) == 0:
            self._chosen = choice
            share = share_of_cubic(choice)
            plan = between(self._phase.plan, self._target, self._traced.groups, share)
            self._kept = thinned(self.model, self._traced, plan, soft=self._phase.soft)[1]
            zero(self.model, self._kept)

    def after_step(self) -> None:
        super().after_step()
        if not self._phase.soft:
            zero(self.model, self._kept)


class GatedTraining(PhasedTraining):
    """A training under gates, of which fewer and fewer are open."""

    def _prepare(self) -> None:
        self._gating = Gating(self._phase, self.cut, self._traced, self._seed)

    def before_step(self, step: int, steps: int) -> None:
        """Say how many slices are to be open."""
        super().before_step(step, steps)
        self._gating.at(step, steps)

    def after_step(self) -> None:
        super().after_step()
        self._gating.step()

    def end(self) -> Mapping[str, Tensor]:
        """What the gates say of slices, which they are folded into."""
        self._gating.end()
        return self._gating.settle(dict(named_tensors(self.model)))

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), **self._gating.state()}

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        super().load(state, done)
        self._gating.load(state)


class ExchangingTraining(PhasedTraining):
    """A training in which single weights go for others."""

    def _prepare(self) -> None:
        self._share = 0.0

    def before_step(self, step: int, steps: int) -> None:
        """See whether it is time: gradients are known when the step is done."""
        super().before_step(step, steps)
        self._share = exchanged_at(self._phase, step, steps)

    def after_step(self) -> None:
        if self._share:
            weights = dict(named_tensors(self.model))
            gradients = {name: each.grad for name, each in weights.items() if each.grad is not None}
            found = exchanged(self._traced, self.cut.masks, weights, gradients, self._share)
            self.cut = replace(self.cut, masks={**self.cut.masks, **found})
            self._share = 0.0
        super().after_step()
