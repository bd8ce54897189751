"""A model that is trained in the phases of a schedule. Knows when it is cut again, and all that a later process needs.

The first phase's model is cut from the dense one. Each later one is cut from the model that the phase before left:
its slices are ranked and what stays is healed as if that model were the dense one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from autoprune.core.clock import Clock
from autoprune.core.defaults import REGULARIZER
from autoprune.core.plan import Plan
from autoprune.core.training_options import TrainingOptions
from autoprune.errors import AutopruneError
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import CutModel, Traced, apply, kept_slices
from autoprune.surgery.bases import as_proved
from autoprune.surgery.find import find, named_tensors, with_readings
from autoprune.surgery.recut import composed, recut
from autoprune.surgery.sparsity import masks, spread, with_weights
from autoprune.tasks.task import Task
from autoprune.training.coupled import CoupledWeights
from autoprune.training.exchange import exchanged
from autoprune.training.finetune import Training
from autoprune.training.gating import Gating
from autoprune.training.penalty import Penalty
from autoprune.training.schedules import Phase, between
from autoprune.training.teacher import Teacher
from autoprune.training.thinning import thinned, zero
from autoprune.training.timeline import CHOICES, exchanged_at, share_of_cubic

#: Of the model; of the one that teaches it, which the last phase left.
_SLICES, _MASKS, _LAST, _LAST_SLICES = "slices.", "masks.", "last.", "last_slices."


@dataclass(frozen=True, kw_only=True)
class Surgeon:
    """Cuts the models of phases.

    Attributes:
        task: With the dense model.
        traced: Its groups.
        ranking: Of the dense model's slices.
        criterion: By which slices of later phases are ranked.
        repair: By which they are healed.
        clock: For what is told of passes.
    """

    task: Task
    traced: Traced
    ranking: Mapping[str, Tensor] = field(repr=False)
    criterion: str
    repair: str
    clock: Clock

    def again(
        self, cut: CutModel, plan: Plan, *, rewound: bool, learned: Mapping[str, Tensor] = MappingProxyType({})
    ) -> CutModel:
        """A smaller model out of one that was cut and trained.

        Args:
            cut: The model.
            plan: What is left of the dense model's groups.
            rewound: Whether its weights are those of the dense model.
            learned: Scores of the dense model's slices by group, which count in place of the criterion's.
        """
        own = self._traced(cut)
        if own is None or rewound:
            ranking = self._restricted(cut, own, learned)
            slices = kept_slices(self.traced, ranking, plan)
            dense = self.task.model
            model = (
                apply(dense, self.traced, slices).eval()
                if rewound
                else recut(dense, self.traced, cut.model, cut.slices, slices)
            )
            again = CutModel(model, plan, slices, masks(self.traced, ranking, plan, slices))
            self._heal(again, self.task, self.traced)
            return again
        task = replace(self.task, model=cut.model)
        healed = calibrate(cut.model, own, self.criterion, self.repair, self.clock, task)
        local = _local(plan, own, self.traced)
        here = {name: each[cut.slices[name]] if name in cut.slices else each for name, each in learned.items()}
        ranking = {**healed.ranking, **here}
        slices = kept_slices(own, ranking, local)
        zeros = masks(own, ranking, local, slices)
        again = CutModel(apply(cut.model, own, slices).eval(), local, slices, zeros)
        healed.repair(again)
        return CutModel(again.model.eval(), plan, composed(cut.slices, slices), zeros)

    def rebuilt(self, plan: Plan, slices: Mapping[str, Tensor], zeros: Mapping[str, Tensor]) -> CutModel:
        """A model of these shapes, whose weights are to be loaded."""
        return CutModel(apply(self.task.model, self.traced, slices).eval(), plan, slices, zeros)

    def _heal(self, cut: CutModel, task: Task, traced: Traced) -> None:
        calibrate(task.model, traced, self.criterion, self.repair, self.clock, task, self.ranking).repair(cut)
        cut.model.eval()

    def _traced(self, cut: CutModel) -> Traced | None:
        """The groups of a cut model, where they are those of the dense one."""
        try:
            found = with_readings(cut.model, self.task.example, find(cut.model, self.task.example))
        except AutopruneError:
            return None
        found = replace(found, bases=as_proved(found.bases, self.traced.bases))
        pattern = next((group.pattern for group in self.traced.open if group.kind == "weight"), "")
        found = with_weights(cut.model, found, pattern) if pattern else found
        sizes = {group.name: group.size for group in found.open}
        wanted = {
            group.name: len(cut.slices.get(group.name, range(group.size)))
            for group in self.traced.open
            if group.kind not in ("layer", "weight")
        }
        return found if all(sizes.get(name) == size for name, size in wanted.items()) else None

    def _restricted(self, cut: CutModel, own: Traced | None, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of the dense model's slices, of which those that are gone come last."""
        ranking = dict(self.ranking)
        if own is not None:
            task = replace(self.task, model=cut.model)
            found = calibrate(cut.model, own, self.criterion, self.repair, self.clock, task).ranking
            layouts = {
                group.name: self.traced.layouts[group.members[0].tensor]
                for group in self.traced.open
                if group.kind == "weight"
            }
            for name, scores in found.items():
                if name in layouts:
                    ranking[name] = spread(scores, layouts[name], cut.slices)
                elif name in ranking:
                    ranking[name] = torch.zeros_like(ranking[name]).index_copy(
                        0, cut.slices.get(name, torch.arange(len(ranking[name]))), scores.to(ranking[name].dtype)
                    )
        ranking |= learned
        for name, kept in cut.slices.items():
            if name in ranking and len(kept) < len(ranking[name]):
                gone = torch.ones(len(ranking[name]), dtype=torch.bool)
                gone[kept] = False
                ranking[name] = ranking[name].masked_fill(gone, -math.inf)
        return ranking


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
            self._training.settle()
            learned = self._training.end()
            self._last = self.cut if self._teacher is not None and self._teacher.follows else None
            again = self._surgeon.again(self.cut, now.plan, rewound=now.rewound, learned=learned)
            self._training = self._begun(again)
        self.done += 1
        return self._training.epoch()

    def finished(self) -> AbstractContextManager[nn.Module]:
        """See `Training.finished`."""
        return self._training.finished()

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
            training = Training(cut, self._surgeon.task, teacher, options, seed, penalty)
        else:
            kind = _GatedTraining if now.gate else _ExchangingTraining if now.exchange else _ThinningTraining
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


class _ThinningTraining(Training):
    """A training in which more and more slices are zero."""

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
        self._target = now.thinned_to or now.plan
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


class _GatedTraining(Training):
    """A training under gates, of which fewer and fewer are open."""

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
        self._gating = Gating(now, cut, surgeon.traced, seed)

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


class _ExchangingTraining(Training):
    """A training in which single weights go for others."""

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


def shapes(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The slices and the masks that a state has."""
    return dict(_named(state, _SLICES)), dict(_named(state, _MASKS))


def _named(state: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), tensor


def _local(plan: Plan, own: Traced, dense: Traced) -> Plan:
    """A plan of the dense model's groups as one of a cut model's: of single weights the same share."""
    sizes = {group.name: group.size for group in dense.groups}
    found = {}
    for group in own.open:
        if group.name in plan.kept:
            wanted = plan.kept[group.name]
            shared = group.kind == "weight" and group.size != sizes[group.name]
            found[group.name] = round(wanted / sizes[group.name] * group.size) if shared else min(wanted, group.size)
    return Plan.of(found)
