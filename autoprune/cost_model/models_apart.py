"""Some models of a search space, taken apart. Knows what their parts add up to; not what a plan will cost.

Each is cut, taken apart for all that is asked, and let go, as all of them together may be large.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from torch import nn

from autoprune.core.metric import COUNTED, KV_CACHE, LATENCY
from autoprune.core.reporter import Advance
from autoprune.cost_model.additive_cost import Levels
from autoprune.cost_model.device_table import DeviceTable
from autoprune.cost_model.sampled_models import cut, evenly, parameters, scattered
from autoprune.cost_model.units import Unit, aten
from autoprune.errors import DeviceError, DeviceLostError, UnreachableError
from autoprune.measure.counts import parts
from autoprune.measure.device import Device
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel

#: What a model makes a device do, of each operator of torch: whatever runs it in the end, its time follows these.
WORK: Final[Mapping[str, Callable[[Unit], int]]] = {
    "flops": lambda unit: round(unit.flops),
    "moved": lambda unit: round(unit.moved),
    "operators": lambda unit: 1,
}

#: What adds up to a cost, by name and module.
Sizes = list[tuple[Hashable, str, int]]


@dataclass(frozen=True, kw_only=True)
class Depth:
    """What a forecast of latency may take.

    Attributes:
        random: Random plans that are taken apart.
        whole: Whole models that are measured.
        limit_s: Seconds for units at most; what is left out lies between what was measured.
    """

    random: int
    whole: int
    limit_s: float


#: Before a search, and where the table is what is asked for.
QUICK: Final = Depth(random=24, whole=8, limit_s=15.0)
THOROUGH: Final = Depth(random=64, whole=14, limit_s=40.0)


@dataclass(frozen=True, kw_only=True)
class _Apart:
    """What is kept of one model. units: none where they are not asked for, or the device's format has none."""

    parameters: int
    units: list[Unit] = field(default_factory=list)
    sizes: Mapping[str, Sizes] = field(default_factory=dict)


class ModelsApart:
    """The dense model, each variable cut alone, and plans from all over the space.

    Attributes:
        device: Open.
        space: Whose plans they are.
        depth: How many there are.
        dense: The dense model's levels.
        plans: Levels of each model.
        table: Of the device.
    """

    def __init__(self, device: Device, space: SearchSpace, seed: int, *, depth: Depth, costs: Sequence[str]) -> None:
        """costs: that are asked for."""
        if device.spec.traced is None:
            raise ValueError("the device was opened without a traced model")
        self.device, self.space, self.depth = device, space, depth
        self.dense = space.places(space.dense())
        alone = [(*self.dense[:v], 0, *self.dense[v + 1 :]) for v in range(len(self.dense))]
        self.plans: list[Levels] = list(dict.fromkeys([self.dense, *alone, *scattered(space, depth.random, seed)]))
        self.table = DeviceTable.of(device)
        self._traced: Traced = device.spec.traced
        self._refused: DeviceError | None = None
        self._apart = [self._taken(self._cut(plan), costs) for plan in self.plans]

    def settled(self, place: int) -> Levels:
        """The levels of a model that make a difference."""
        return self.space.settled(self.plans[place])

    def timed(self, advance: Advance = lambda text: None) -> dict[int, float]:
        """Seconds of some whole models by their place; those that the device cannot run are left to their own trials.

        Raises:
            DeviceError: it can run none of them.
        """
        found: dict[int, float] = {}
        refused: DeviceError | None = None
        for place in evenly([each.parameters for each in self._apart], self.depth.whole):
            try:
                found[place] = self.device.rough(self._cut(self.plans[place]))
            except (DeviceLostError, UnreachableError):
                raise
            except DeviceError as error:
                refused = error
            advance("")
        if refused is not None and not found:
            raise refused
        return found

    def units(self) -> list[list[Unit]]:
        """What each model consists of, where latency was asked for.

        Raises:
            DeviceError: this format cannot be taken apart.
        """
        if self._refused is not None:
            raise self._refused
        return [each.units for each in self._apart]

    def sizes(self, cost: str) -> list[Sizes]:
        """Of each model what adds up to one of `COUNTED`, or of `WORK`."""
        if any(cost not in each.sizes for each in self._apart):
            self._apart = [
                replace(each, sizes={**each.sizes, **self._sizes(self._cut(plan).model, [cost])})
                for each, plan in zip(self._apart, self.plans, strict=True)
            ]
        return [each.sizes[cost] for each in self._apart]

    def _cut(self, plan: Levels) -> CutModel:
        return cut(self.device, self._traced, self.space.at(plan))

    def _taken(self, made: CutModel, costs: Sequence[str]) -> _Apart:
        units: list[Unit] = []
        if LATENCY.metric in costs and self._refused is None:
            try:
                units = self.table.units(made)
            except DeviceError as error:
                self._refused = error
        sizes = self._sizes(made.model, [cost for cost in costs if cost in COUNTED])
        return _Apart(parameters=parameters(made.model), units=units, sizes=sizes)

    def _sizes(self, model: nn.Module, costs: Iterable[str]) -> dict[str, Sizes]:
        """Of these costs; of all work where one of them is a part of it, as it is found together."""
        found: dict[str, Sizes] = {}
        for cost in costs:
            if cost in WORK and cost not in found:
                done = aten.units(model, self.device.example)
                found |= {name: [((u.layer, u.family), u.layer, of(u)) for u in done] for name, of in WORK.items()}
            elif cost == KV_CACHE:
                found[cost] = [(name, name, size) for name, size in parts(cost, model, self.device.example).items()]
            elif cost not in WORK:
                sizes = parts(cost, model, self.device.example)
                found[cost] = [(name, _owner(name), size) for name, size in sizes.items()]
        return found


def _owner(tensor: str) -> str:
    """The module that a tensor is called after."""
    return tensor.rpartition(".")[0]
