"""What a forecast and the evidence say together of any plan: cost, harm and quality, each with its doubt.

Costs: the forecast times a factor that evaluated plans refit. Harm (the increase of the task's loss): a sum over
variables of what each level does, begun by what ablations found of the lowest, with a power of what is cut between that
and the whole, and refitted by regression with relative errors; the evidence tells which. Quality: what plans of such
harm scored. Knows nothing of who asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import isotonic_regression

from autoprune.core.aim import Wall
from autoprune.core.forecast import CostForecast, Forecast
from autoprune.core.space import SearchSpace
from autoprune.surrogate.evidence import Evidence, Floats, Ints
from autoprune.surrogate.knapsack import Levels, Part, best_plans
from autoprune.surrogate.linear_regression import Line
from autoprune.surrogate.price import Price

#: So many plans are fitted at most: the last ones, which lie where the search has come to.
_MOST: Final = 256
#: Relative errors that a sum over variables may have as a model of harm; the evidence tells which, none yet: the first.
_RELATIVE: Final = (0.3, 0.2, 0.1)
#: Powers of what is cut with which harm may grow between a variable's ends; as above.
_CURVES: Final = (3.0, 2.0, 4.0, 6.0)
#: By how much ablations may be wrong of a level.
_ABLATION: Final = 0.5
_BUCKETS, _BUCKETS_EACH = 400, 8
#: How many times its room a plan may cost that is looked at: predictions err, and the edge is where quality is.
_BEYOND: Final = 1.05
#: By which factor intervals may be above their value; on a machine that changes its speed they reach that far.
_LOOSEST: Final = 3.0
#: What harm counts in `worth` beside quality, which alone cannot tell good plans apart.
_TELLS: Final = 0.05
#: A quality that has an end is of this many places in the box as bad as any.
_CHANCE: Final = 4.0


@dataclass(frozen=True)
class Expected:
    """Of N plans: cost as a share of dense, harm (below 0 where a model is better than the dense one), quality in the
    aim's box (lower is better), `worth`, which is the quality with a little of the harm, and the chance to be within
    every limit on a cost. *_doubt: standard deviations, of cost relative."""

    cost: Floats
    cost_doubt: Floats
    harm: Floats
    harm_doubt: Floats
    loss: Floats
    worth: Floats
    within: Floats


class Belief:
    """Made anew as evidence comes in; making it takes milliseconds.

    price: the cost that is traded off; walls: other costs that are limited; settled: the levels that are evaluated
    where others are asked for, both being one model; scatter: standard deviation of the quality of plans that do like
    harm, of the better half of what was seen.
    """

    def __init__(self, forecast: Forecast, evidence: Evidence, space: SearchSpace) -> None:
        self.evidence, self.sizes, self.settled = evidence, space.sizes, space.settled
        self._foretold = [np.array(row) for row in forecast.damage]
        self._eps = 4 * max(forecast.noise, 1e-9)
        levels, aim = evidence.levels.reshape(-1, len(self.sizes)), evidence.aim
        recent = slice(max(len(levels) - _MOST, 0), None)
        name = aim.objectives[aim.cost].name if aim.cost is not None else ""
        foretold = forecast.cost(name)
        self.price = Price(name, foretold, self.sizes, levels[recent], evidence.cost[recent], self._room(name))
        self.walls = tuple(
            self._wall(wall, found, levels[recent], evidence.worst(wall)[recent])
            for wall in aim.walls
            if wall.metric.name != name and (found := forecast.cost(wall.metric.name)) is not None
        )
        self._fit_harm(levels[recent], evidence.harm[recent], evidence.loss[recent])
        self._link(evidence.harm, evidence.loss)

    def expected(self, plans: Ints) -> Expected:
        """plans (N, variables)."""
        cost, doubt = self.price.expected(plans)
        prior = _summed(self._damage, plans)
        features = self._features(plans, prior)
        harm = prior + features @ self._harm.mean
        spread = np.sqrt(self._harm.variance(features) + (self._relative * (np.maximum(harm, 0.0) + self._eps)) ** 2)
        within = self.price.chance(cost, doubt)
        for wall in self.walls:
            within = within * wall.chance(*wall.expected(plans))
        return Expected(cost, doubt, harm, self._harm.widening * spread, self.loss(harm), self.worth(harm), within)

    def worth_seen(self) -> Floats:
        """(N,) the worth of evaluated plans, as their harm was seen."""
        return self.worth(self.evidence.harm)

    def worth(self, harm: Floats) -> Floats:
        """The quality that goes with a harm, in the aim's box, and a little of the harm itself: where many plans are as
        good as dense, harm still tells which of them are near the edge."""
        scale = max(float(np.median(self._known_harm)), self._eps)
        worth: Floats = self.loss(harm) + _TELLS * harm / (np.abs(harm) + scale)
        return worth

    def front(self, rng: np.random.Generator | None = None, beyond: float = _BEYOND) -> list[Levels]:
        """Plans of least harm by cost, under the mean of what is believed; with `rng`, under a draw from it.

        Of each limited cost, and of all together as shares of their room, as any of them may be what binds. beyond: how
        many times the room a plan may cost.
        """
        weights = self._harm.mean if rng is None else self._harm.draw(rng)
        harms, start = [], 0
        for v, row in enumerate(self._damage):
            steps = -np.diff(row) * (1 + weights[-1]) + weights[start : start + len(row) - 1]
            start += len(row) - 1
            # What is cut further hurts no less: a step down that seems to help is chance.
            below = np.cumsum(np.maximum(steps, 0.0)[::-1])[::-1]
            harms.append(Part((v,), np.append(below, 0.0)))
        buckets = _BUCKETS + _BUCKETS_EACH * len(self.sizes)
        prices = (self.price, *self.walls)
        bounds = [(price.parts, price.reach(price.room * beyond)) for price in prices]
        if self.walls:
            ends = [reach if np.isfinite(reach) else 1.0 for _, reach in bounds]
            together = [
                Part(part.variables, part.values / max(end, 1e-12))
                for (parts, _), end in zip(bounds, ends, strict=True)
                for part in parts
            ]
            bounds.append((together, float(len(prices))))
        found = (plan for parts, most in bounds for plan in best_plans(self.sizes, parts, harms, buckets, most))
        return list(dict.fromkeys(found))

    def pressure(self, plans: Ints, target: float) -> Floats:
        """(N,) the cost, quickly told, or as much of a target as any other limited cost takes of its room, whichever is
        more: at most the target where all that is limited is within its limit."""
        return np.maximum(self.price.quick(plans), target * self.taken(plans))

    def taken(self, plans: Ints) -> Floats:
        """(N,) how much of its room the worst of the costs takes that are limited beside the one that is traded off."""
        found = np.zeros(len(plans))
        for wall in self.walls:
            found = np.maximum(found, wall.quick(plans) / wall.room)
        return found

    def _fit_harm(self, levels: Ints, harm: Floats, loss: Floats) -> None:
        """Regression of harm on steps cut. Beyond chance more harm cannot be told from less: that a plan does so much
        is learned where less was expected of it, and nothing else."""
        aim = self.evidence.aim
        ends = aim.quality is not None and math.isfinite(aim.objectives[aim.quality].worst)
        chance = loss >= (_CHANCE if ends else math.inf)
        if chance.any():
            most = float(harm[chance].min())
            told = ~chance | (_summed(self._foretold, levels) < most)
            levels, harm = levels[told], np.minimum(harm, most)[told]
        fits = [self._fitted(_curved(self._foretold, power), levels, harm) for power in _CURVES]
        self._damage, self._harm, self._relative = max(fits, key=lambda fit: fit[1].likelihood)

    def _fitted(self, damage: list[Floats], levels: Ints, harm: Floats) -> tuple[list[Floats], Line, float]:
        """The damage, its regression, and the relative error under which that is the likeliest."""
        prior = _summed(damage, levels)
        # What ablations missed, groups that are harmless alone and not together, is for all steps alike to explain.
        missed = float(np.maximum(harm - prior, 0.0).mean()) if len(harm) else 0.0
        steps = np.concatenate([-np.diff(row) for row in damage])
        least = max(self._eps / 8, missed / (2 * math.sqrt(len(steps))))
        variances = np.append((_ABLATION * (np.maximum(steps, 0.0) + least)) ** 2, 1.0)
        size = np.maximum(harm, 0.0) + max(self._eps, 0.1 * missed)
        features = self._features(levels, prior)
        line, place = Line.fit(features, harm - prior, variances, [each * size for each in _RELATIVE])
        return damage, line, _RELATIVE[place]

    def _link(self, harm: Floats, loss: Floats) -> None:
        """Quality by harm: the monotone step function nearest to what was seen (Barlow et al. 1972)."""
        harm, loss = np.append(0.0, harm), np.append(0.0, loss)  # the dense model
        order = np.argsort(harm, kind="stable")
        self._known_harm = harm[order]
        self._known_loss = np.maximum.accumulate(isotonic_regression(loss[order]).x)
        better = slice((len(harm) + 1) // 2)
        self.scatter = float(np.std((loss[order] - self._known_loss)[better]))

    def loss(self, harm: Floats) -> Floats:
        """The quality in the aim's box that goes with a harm."""
        if len(self._known_harm) < 3:
            return harm / max(float(sum(row.max() for row in self._damage)), 1e-12)
        inside: Floats = np.interp(harm, self._known_harm, self._known_loss)
        # Beyond what was seen it goes on as it did on the whole.
        slope = (self._known_loss[-1] - self._known_loss[0]) / max(self._known_harm[-1] - self._known_harm[0], 1e-12)
        beyond: Floats = slope * np.maximum(harm - self._known_harm[-1], 0.0)
        return inside + beyond

    def _room(self, name: str) -> float:
        """The highest expected cost that may still be within the limits, as a share of dense: limits are held against
        the worse end of an interval, whose usual width the evidence tells."""
        wall = next((wall for wall in self.evidence.aim.walls if wall.metric.name == name), None)
        if wall is None:
            return np.inf
        bound, cost, worst = wall.most, self.evidence.cost, self.evidence.worst(wall)
        known = np.isfinite(worst) & (cost > 0)
        near = known & (cost > 0.25 * bound) & (cost < 1.5 * bound)
        widths = (worst / np.where(known, cost, 1.0))[near if near.any() else known]
        return bound / float(np.clip(np.median(widths), 1.0, _LOOSEST)) if widths.size else bound

    def _wall(self, wall: Wall, forecast: CostForecast, levels: Ints, worst: Floats) -> Price:
        """What is seen of it are worse ends of intervals, so that its room is the limit itself."""
        known = np.isfinite(worst)
        return Price(wall.metric.name, forecast, self.sizes, levels[known], worst[known], wall.most)

    def _features(self, plans: Ints, prior: Floats) -> Floats:
        """For each variable the steps that are cut away, and the sum of what ablations said, which is `prior`."""
        steps = [plans[:, [v]] <= np.arange(size - 1) for v, size in enumerate(self.sizes)]
        return np.column_stack([*steps, prior]).astype(float)


def _curved(foretold: list[Floats], power: float) -> list[Floats]:
    """Damage that grows with another power of what is cut than its square; the ends stay."""
    worst = [max(float(row.max()), 1e-12) for row in foretold]
    return [most * (np.maximum(row, 0.0) / most) ** (power / 2) for row, most in zip(foretold, worst, strict=True)]


def _summed(damage: list[Floats], plans: Ints) -> Floats:
    """(N,) the sum over variables of what the plans' levels do."""
    found = np.zeros(len(plans))
    for v, row in enumerate(damage):
        found += row[plans[:, v]]
    return found
