"""Descent along gradients: one relaxed gate a variable, all trained together on the loss of the model that they cut.

A gate lies at a level or between two: slices that only the higher one keeps get through in part, as far as it is from
the lower one. What levels cost is expected over the same shares, and has slopes, too. The multiplier of the cost is
solved for at each step, so that all gates together cost what is aimed at, from the dense model down to the smallest
plan (DARTS, Liu et al. 2019, for one budget after the other, without weights that learn): gates are rounded to levels
at each step, to the plan that comes nearest to that cost, and of all these plans the front is proposed.

Nothing is repaired meanwhile, and slopes come from few batches: each later way draws by how much each slope is
mistaken. Without access to a model, or a loss, the forecast tells slopes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from optuna.samplers import BaseSampler
from torch import Tensor

from autoprune.core.plan import Plan
from autoprune.samplers import ModelAccess, SamplerContext, whole_number
from autoprune.samplers._planned import PlannedSampler
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery import kept_slices
from autoprune.surgery.gated import gated
from autoprune.surgery.sparsity import masks
from autoprune.surrogate.acquisition import ranked
from autoprune.surrogate.knapsack import Levels, Part, Sum
from autoprune.surrogate.observations import Floats, Ints, Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
OPTIONS: Final = {"steps": "96"}
_NAME: Final = "differentiable"
#: Batches of the calibration split that are looked at in turn.
_BATCHES: Final = 32
#: The largest step of a gate at a usual slope, as a share of its range; and what a slope weighs beside later ones.
_STEP, _MEMORY = 0.06, 0.8
#: The range in which the multiplier is looked for, relative to usual slopes; numbers tried at a time, and how often.
_RANGE, _TRIED, _ROUNDS = (1e-9, 1e9), 24, 4
#: Of slopes on later ways, the standard deviation of their logarithm.
_MISTAKEN: Final = 1.0

#: Places of all gates, in levels (variables,), and the step -> the slope of the loss by level (variables,).
Slopes = Callable[[Floats, int], Floats]


class Descent(PlannedSampler):
    """Goes down once from the dense model, and again when all plans on the way are taken."""

    def __init__(self, context: SamplerContext, steps: int) -> None:
        """steps: of a way."""
        super().__init__(context)
        self._steps = steps
        self._ways: list[list[Levels]] = []
        self._model: RelaxedModel | None = None

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        surrogate = Surrogate(self.context.required_forecast, observations, self.context.space)
        for way in self._all_ways():
            plans = [plan for plan in way if plan not in observations.taken]
            yield from ((plan, _NAME) for plan in ranked(surrogate, plans))

    def _all_ways(self) -> Iterator[list[Levels]]:
        """One after the other, until one leads along none but known plans."""
        known: set[Levels] = set()
        for place in itertools.count():
            if place == len(self._ways):
                self._ways.append(self._way(place))
            if known.issuperset(self._ways[place]):
                return
            known.update(self._ways[place])
            yield self._ways[place]

    def _way(self, place: int) -> list[Levels]:
        """Plans from the dense model down to the smallest one; none where nothing tells what plans cost."""
        nothing = Observations(self.context.goal, ())
        estimate = Surrogate(self.context.required_forecast, nothing, self.context.space).cost_estimate
        if not estimate.parts:
            return []
        doubts = np.random.default_rng([self.context.seed, place]).normal(size=len(self.context.sizes))
        factors, slopes = np.exp(_MISTAKEN * doubts) if place else np.ones(len(doubts)), self._slopes()
        way = descended(
            self.context.sizes,
            estimate.parts,
            lambda places, step: factors * slopes(places, step),
            self._steps,
            estimate.reach(estimate.room),
        )
        return list(dict.fromkeys(map(self.context.space.settled, way)))

    def _slopes(self) -> Slopes:
        access = self.context.access
        if access is None or access.loss is None:
            return self._foretold
        if self._model is None:
            self._model = RelaxedModel(access, self.context.space)
        return self._model.slopes

    def _foretold(self, places: Floats, _: int) -> Floats:
        rows, low = self.context.required_forecast.loss_increases, _below(places, self.context.sizes)
        return np.array([row[k + 1] - row[k] for row, k in zip(rows, low, strict=True)])


class RelaxedModel:
    """A copy of the dense model whose slices get through as gates say."""

    def __init__(self, access: ModelAccess, space: SearchSpace) -> None:
        """access: with a loss."""
        self._traced, self._loss = access.traced, access.loss
        self._dense, self._copy = access.model(), access.model().eval()
        self._weights = {name: each for name, each in self._copy.named_parameters() if each.is_floating_point()}
        self._batches = [*itertools.islice(access.batches("calibration"), _BATCHES)]
        self._sizes = space.sizes
        whole = [size - 1 for size in space.sizes]
        self._open = [
            [
                self._opened(space.at([*whole[:v], level, *whole[v + 1 :]]), access, [g.name for g in variable.groups])
                for level in range(size)
            ]
            for v, (variable, size) in enumerate(zip(space.variables, space.sizes, strict=True))
        ]

    def slopes(self, places: Floats, step: int) -> Floats:
        """Of the loss on one batch."""
        at = torch.tensor(places, requires_grad=True)
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # its recurrences learn in train mode only
            products = gated(self._dense, self._traced, self._numbers(at))
            names = [name for name in self._weights if name in products]
            self._put(products)
            loss = self._loss_on(self._batches[step % len(self._batches)])
            weights = [self._weights[name].requires_grad_(True) for name in names]
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            pairs = [(products[name], each) for name, each in zip(names, found, strict=True) if each is not None]
            if not pairs:
                return np.zeros(len(places))
            outputs, slopes = zip(*pairs, strict=True)
            (slope,) = torch.autograd.grad(outputs, at, slopes, allow_unused=True)
        return np.zeros(len(places)) if slope is None else np.nan_to_num(np.asarray(slope, np.float64))

    def _numbers(self, at: Tensor) -> dict[str, Tensor]:
        """By group, how far each slice is open."""
        found = {}
        for v, low in enumerate(_below(at.detach().numpy(), self._sizes).tolist()):
            below, above = self._open[v][low : low + 2]
            found.update({name: below[name] + (at[v] - low) * (above[name] - below[name]) for name in below})
        return found

    def _opened(self, plan: Plan, access: ModelAccess, names: Sequence[str]) -> dict[str, Tensor]:
        """By group of a variable that a plan cuts alone, which slices are left: ones and zeros (size,)."""
        kept = kept_slices(self._traced, access.ranking, plan)
        zeroed = masks(self._traced, access.ranking, plan, {})
        found = {}
        for group in (group for group in self._traced.groups if group.name in names):
            found[group.name] = torch.ones(group.size, dtype=torch.float64)
            if group.name in kept:
                found[group.name] = torch.zeros_like(found[group.name]).index_fill(0, kept[group.name], 1.0)
            elif group.kind == "weight" and group.members[0].tensor in zeroed:
                found[group.name] = zeroed[group.members[0].tensor].flatten().double()
        return found

    def _put(self, products: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                if name in products:
                    weight.copy_(products[name])

    def _loss_on(self, batch: Any) -> Tensor:
        if self._loss is None:
            raise RuntimeError("slopes of a loss need one")
        return self._loss(self._copy, batch)


def descended(
    sizes: Levels, parts: Sequence[Part], slopes: Slopes, steps: int, most: float = math.inf
) -> Iterator[Levels]:
    """Plans on the way down from the dense model to the smallest one, the most expensive first.

    Args:
        sizes: How many levels each variable has.
        parts: What varies of the cost.
        slopes: Of the loss.
        steps: In all; where the cost is limited, half of them lead down to the limit.
        most: The limit on what varies of the cost, above which no plan is of interest.
    """
    reach, total = np.array(sizes) - 1.0, Sum(parts, len(sizes))
    places = reach.copy()
    whole, least = expected_cost(parts, sizes, np.stack([reach, 0 * reach]))
    most = float(np.clip(most, least, whole))
    before = steps // 2 if most < whole else 0
    costs = np.append(np.linspace(whole, most, before + 1), np.linspace(most, least, steps - before + 1)[1:])[1:]
    mean = usual = np.zeros(len(sizes))
    weight = multiplier = 0.0
    for step, aimed in enumerate(costs):
        mean = _MEMORY * mean + (1 - _MEMORY) * slopes(places, step) * reach
        usual = _MEMORY * usual + (1 - _MEMORY) * np.abs(mean)
        weight = _MEMORY * weight + (1 - _MEMORY)
        by_loss, by_cost = mean / weight, cost_slopes(parts, sizes, places) * reach
        typical = max(float(by_cost.mean()), 1e-12)
        scale = max(float(usual.mean()) / weight / typical, 1e-12)
        # Slopes differ by orders of magnitude: each gate goes at a pace of its own (as in Adam).
        pace = _STEP * reach / (usual / weight + max(multiplier, scale) * np.maximum(by_cost, 1e-3 * typical))
        low, high = _RANGE[0] * scale, _RANGE[1] * scale
        for _ in range(_ROUNDS):
            tried = np.geomspace(low, high, _TRIED)
            moved = np.clip(places - pace * (by_loss + tried[:, None] * by_cost), 0.0, reach)
            enough = expected_cost(parts, sizes, moved) <= aimed
            first = int(enough.argmax()) if enough.any() else _TRIED - 1
            low, high = tried[max(first - 1, 0)], tried[first]
        multiplier, places = float(high), moved[first]
        if step >= before - 1:
            yield rounded(places, sizes, total, aimed)


def rounded(places: Floats, sizes: Levels, total: Sum, aimed: float) -> Levels:
    """The plan of levels beside places that costs the most up to what is aimed at, or the least of all; those that are
    nearest to the level above them are rounded up first."""
    low = _below(places, sizes)
    turn = np.argsort(np.argsort(low - places, kind="stable"))
    plans = low + (turn < np.arange(len(sizes) + 1)[:, None])
    cost = total(plans)
    best = np.where(cost <= aimed, cost, -np.inf).argmax() if (cost <= aimed).any() else cost.argmin()
    return tuple(int(level) for level in plans[best])


def expected_cost(parts: Iterable[Part], sizes: Levels, places: Floats) -> Floats:
    """(N,) what varies of the cost, where each variable is at one of the levels beside its place by chance.

    places: (N, variables).
    """
    low, rows, total = _below(places, sizes), np.arange(len(places)), np.zeros(len(places))
    share = places - low
    for part in parts:
        values = np.broadcast_to(part.values, (len(places), *part.values.shape))
        for v in part.variables:  # the second dimension is always the next variable's
            below, above = values[rows, low[:, v]], values[rows, low[:, v] + 1]
            values = below + (above - below) * share[:, v].reshape(-1, *[1] * (below.ndim - 1))
        total += values
    return total


def cost_slopes(parts: Iterable[Part], sizes: Levels, places: Floats) -> Floats:
    """(variables,) by level of each; places: (variables,)."""
    low, one = _below(places, sizes), np.eye(len(places), dtype=bool)
    below, above = (expected_cost(parts, sizes, np.where(one, low + k, places)) for k in (0, 1))
    return above - below


def _below(places: Floats, sizes: Levels) -> Ints:
    """The lower of the two levels beside each place."""
    found: Ints = np.minimum(np.floor(places).astype(np.int64), np.array(sizes) - 2)
    return found


def create(context: SamplerContext) -> BaseSampler:
    return Descent(context, whole_number(context.options, "steps", 8, 10_000))
