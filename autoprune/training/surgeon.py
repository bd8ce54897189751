"""Cutting a model again that was cut and trained. Knows how its slices are ranked and what stays is healed, as if it
were the dense one; not when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor

from autoprune.core.clock import Clock
from autoprune.core.plan import Plan
from autoprune.errors import AutopruneError
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import CutModel, Traced, apply, kept_slices
from autoprune.surgery.bases import as_proved
from autoprune.surgery.find import find, with_readings
from autoprune.surgery.recut import composed, recut
from autoprune.surgery.sparsity import masks, spread, with_weights
from autoprune.tasks.task import Task


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
        healed = calibrate(cut.model, own, criterion=self.criterion, repair=self.repair, clock=self.clock, task=task)
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
        calibrate(
            task.model,
            traced,
            criterion=self.criterion,
            repair=self.repair,
            clock=self.clock,
            task=task,
            ranked=self.ranking,
        ).repair(cut)
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
            found = calibrate(
                cut.model, own, criterion=self.criterion, repair=self.repair, clock=self.clock, task=task
            ).ranking
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
