"""How groups see the weights of a model in training, whole or cut. Knows where slices lie; not what is asked of them.

Slices keep the numbers that they have in the dense model; of those that are gone nothing is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from autoprune.calibration.ranking import Sight, factors_of_normalisation
from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.criteria import GroupView, View
from autoprune.surgery import Traced, kept_slices
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions, size, slice_of_position
from autoprune.surgery.sparsity import masks


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Where a group stands in a parameter.

    Attributes:
        tensor: The parameter's name.
        dim: Along which dimension; None for single weights.
        slices: Of each position the number of its slice in the dense model, -1 for none.
        size: Slices of the group in the dense model.
        role: What the dimension is to the group; see `View`.
    """

    tensor: str
    dim: int | None
    slices: Tensor = field(repr=False)
    size: int
    role: str


class CoupledWeights:
    """The parameters of a model that slices of open groups hold.

    Attributes:
        holdings: By group, where it stands.
        parameters: By name; those of the model itself.
        held: Which of their elements slices hold, bool of their shapes.
        factors: Names of those that are factors of normalisation.
    """

    def __init__(self, cut: CutModel, traced: Traced, *, frozen: bool = False) -> None:
        """Look at a model.

        Args:
            cut: Whole, or cut from the one that was traced.
            traced: Groups of the dense model.
            frozen: Whether parameters that are not trained are among them.
        """
        self._cut, self._traced = cut, traced
        sight = Sight(traced, factors_of_normalisation(cut.model), {})
        own = {
            name: each
            for name, each in named_tensors(cut.model)
            if isinstance(each, nn.Parameter) and (frozen or each.requires_grad)
        }
        self.holdings: dict[str, list[Holding]] = {}
        self.parameters: dict[str, Tensor] = {}
        self.held: dict[str, Tensor] = {}
        for group in traced.open:
            found = [] if group.kind == "layer" else [*self._of(group, own, sight)]
            if found:
                self.holdings[group.name] = found
            for place in found:
                tensor = own[place.tensor]
                inside = (place.slices >= 0).view(_shape(tensor, place.dim)).expand(tensor.shape)
                self.parameters[place.tensor] = tensor
                self.held[place.tensor] = self.held.get(place.tensor, torch.zeros_like(inside)) | inside
        self.factors = sight.scales & self.parameters.keys()

    def groups(self) -> tuple[GroupView, ...]:
        """Every group with what its slices hold, as it is now; gradients flow back to the parameters."""
        return tuple(
            GroupView(name, places[0].size, tuple(self._view(place) for place in places))
            for name, places in self.holdings.items()
        )

    def going(self, ranking: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
        """What a plan would take of the model, by a ranking of the dense model's slices.

        Args:
            ranking: Scores by group.
            plan: How many slices of each group stay.

        Returns:
            By parameter, which elements go: bool, of its shape.
        """
        scores = {name: each.clone() for name, each in ranking.items()}
        for name, kept in self._cut.slices.items():
            if name in scores:  # what is gone already comes last
                gone = torch.ones(len(scores[name]), dtype=torch.bool)
                gone[kept] = False
                scores[name][gone] = -torch.inf
        stay = kept_slices(self._traced, scores, plan)
        thinned = masks(self._traced, ranking, plan, self._cut.slices)
        found = {}
        for name, parameter in self.parameters.items():
            goes = ~thinned[name].to(parameter.device) if name in thinned else None
            for dim, layout in enumerate(self._traced.layouts[name]):
                staying = positions(layout, stay)
                if staying is not None:
                    line = torch.ones(size(layout), dtype=torch.bool)
                    line[staying] = False
                    own = positions(layout, self._cut.slices)
                    line = (line if own is None else line[own]).to(parameter.device)
                    whole = line.view(_shape(parameter, dim)).expand(parameter.shape)
                    goes = whole if goes is None else goes | whole
            if goes is not None:
                found[name] = goes & self.held[name]
        return found

    def _of(self, group: Group, own: Mapping[str, Tensor], sight: Sight) -> Iterator[Holding]:
        for member in group.members:
            tensor = own.get(member.tensor)
            if tensor is None:  # of a dropped layer, or not trained
                continue
            if member.dim is None:
                every = torch.arange(tensor.numel(), device=tensor.device)
                yield Holding(tensor=member.tensor, dim=None, slices=every, size=len(every), role="elements")
                continue
            layout, role = (
                self._traced.layouts[member.tensor][member.dim],
                sight.role(member.tensor, member.dim, tensor),
            )
            kept = positions(layout, self._cut.slices)
            for every in slice_of_position(layout, group.name):
                left = (every if kept is None else every[kept]).to(tensor.device)
                yield Holding(tensor=member.tensor, dim=member.dim, slices=left, size=group.size, role=role)

    def _view(self, place: Holding) -> View:
        tensor = self.parameters[place.tensor]
        real = tensor.abs() if tensor.is_complex() else tensor
        rows = (real if place.dim is None else real.movedim(place.dim, 0)).reshape(len(place.slices), -1)
        return View(tensor=place.tensor, rows=rows, slices=place.slices, size=place.size, role=place.role)


def _shape(tensor: Tensor, dim: int | None) -> list[int]:
    if dim is None:
        return [*tensor.shape]
    shape = [1] * tensor.dim()
    shape[dim] = -1
    return shape
