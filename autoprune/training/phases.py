"""A model that is trained in the phases of a schedule. Knows when it is cut again, and all that a later process needs.

The first phase's model is cut from the dense one. Each later one is cut from the model that the phase before left:
its slices are ranked and what stays is healed as if that model were the dense one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from autoprune.finetuning.coupled import CoupledWeights
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.penalty import Penalty
from autoprune.finetuning.teacher import Teacher
from autoprune.options.defaults import REGULARIZER
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel
from autoprune.training.phase_training import ExchangingTraining, GatedTraining, ThinningTraining
from autoprune.training.schedules import Phase
from autoprune.training.surgeon import Surgeon

#: Of the model; of the one that teaches it, which the last phase left.
_SLICES, _MASKS, _LAST, _LAST_SLICES = "slices.", "masks.", "last.", "last_slices."


class PhaseTraining:
    """A candidate on its way through the phases, epoch by epoch. done: epochs so far."""

    def __init__(
        self,
        first: CutModel,
        phases: Sequence[Phase],
        surgeon: Surgeon,
        teacher: Teacher | None,
        options: TrainingOptions,
        seed: int,
    ) -> None:
        """first: the model of the first phase, cut and healed."""
        self._phases, self._surgeon, self._teacher = phases, surgeon, teacher
        self._options, self._seed = options, seed
        self.done, self._place = 0, 0
        self._last: CutModel | None = None
        self._training = self._begun(first)

    @property
    def cut(self) -> CutModel:
        """The model as it is now."""
        return self._training.cut

    @property
    def model(self) -> nn.Module:
        """Its module."""
        return self._training.model

    @property
    def last(self) -> bool:
        """Whether the model is cut no more."""
        return self._place + 1 == len(self._phases)

    def epoch(self) -> float:
        """Train for one more epoch; the last batch's loss.

        Raises:
            TaskError: as `Training.epoch`.
        """
        begun = sum(each.epochs for each in self._phases[: self._place + 1])
        if self.done == begun and not self.last:
            self._place += 1
            now = self._phases[self._place]
            learned = self._training.end()
            self._last = self.cut if self._teacher is not None and self._teacher.follows else None
            again = self._surgeon.again(self.cut, now.plan, rewound=now.rewound, learned=learned)
            self._training = self._begun(again)
        self.done += 1
        return self._training.epoch()

    def state(self) -> dict[str, Tensor]:
        """All that the next epoch needs, on the processor."""
        cut = self.cut
        kept = {f"{_SLICES}{name}": each.clone() for name, each in cut.slices.items()}
        zeros = {f"{_MASKS}{name}": each.cpu().contiguous().clone() for name, each in cut.masks.items()}
        return {**self._training.state(), **kept, **zeros, **self._taught()}

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        """Go on from a state.

        Raises:
            StorageError: it is one of another model.
        """
        self.done, before, self._place = done, 0, 0
        while done > before + self._phases[self._place].epochs:
            before += self._phases[self._place].epochs
            self._place += 1
        plan = self._phases[self._place].plan
        self._last = self._taught_by(state)
        self._training = self._begun(self._surgeon.rebuilt(plan, *shapes(state)))
        self._training.load(state, done - before)

    def _begun(self, cut: CutModel) -> Training:
        now = self._phases[self._place]
        options = replace(self._options, epochs=now.epochs)
        seed = self._seed + 7919 * self._place
        penalty, teacher = self._penalty(cut), self._teacher
        if teacher is not None and self._last is not None:
            teacher = teacher.after(self._last.model)
        if now.thinned_to is None and now.exchange is None:
            training = Training(cut, self._surgeon.task, teacher=teacher, options=options, seed=seed, penalty=penalty)
        else:
            kind = GatedTraining if now.gate else ExchangingTraining if now.exchange else ThinningTraining
            training = kind(cut, self._surgeon, teacher, options, seed, now, penalty)
        training.before = sum(each.epochs for each in self._phases[: self._place])
        return training

    def _taught(self) -> dict[str, Tensor]:
        """What the last phase left, where it teaches."""
        if self._last is None:
            return {}
        whole = self._last.model.state_dict().items()
        found = {f"{_LAST}{name}": each for name, each in whole if isinstance(each, Tensor)}
        found |= {f"{_LAST_SLICES}{name}": each for name, each in self._last.slices.items()}
        return {name: each.detach().cpu().contiguous().clone() for name, each in found.items()}

    def _taught_by(self, state: Mapping[str, Tensor]) -> CutModel | None:
        weights, slices = (dict(_named(state, part)) for part in (_LAST, _LAST_SLICES))
        if not weights:
            return None
        last = self._surgeon.rebuilt(self._phases[self._place - 1].plan, slices, {})
        last.model.load_state_dict(weights)
        return last

    def _penalty(self, cut: CutModel) -> Penalty | None:
        """The regularizer's; none on a model that is not cut any more."""
        now, *later = (each.plan for each in self._phases[self._place :])
        smaller = next((plan for plan in later if plan != now), None)
        if smaller is None or self._options.regularizer == REGULARIZER:
            return None
        weights = CoupledWeights(cut, self._surgeon.traced)
        return Penalty(self._options, weights, weights.going(self._surgeon.ranking, smaller))


def shapes(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The slices and the masks that a state has."""
    return dict(_named(state, _SLICES)), dict(_named(state, _MASKS))


def _named(state: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), tensor
