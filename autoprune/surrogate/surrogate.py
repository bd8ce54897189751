"""What a forecast and the observations say together of any plan: cost, loss increase and quality, each with its doubt.

Costs: the forecast times a factor that evaluated plans refit. Loss increase (the increase of the task's loss): a sum
over variables of what each level does, begun by what ablations found of the lowest, with a power of what is cut between
that and the whole, and refitted by regression with relative errors; the observations tell which. Quality: what plans of
such loss increase scored. Knows nothing of who asks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoprune.core.forecast import CostForecast, Forecast
from autoprune.core.goal import CostLimit
from autoprune.search_spaces.space import SearchSpace
from autoprune.surrogate.cost_estimate import CostEstimate
from autoprune.surrogate.knapsack import Levels, Part, best_plans
from autoprune.surrogate.linear_regression import BayesianLinearRegression
from autoprune.surrogate.observations import Floats, Ints, Observations

#: So many plans are fitted at most: the last ones, which lie where the search has come to.
_MOST: Final = 256
#: Relative errors that a sum over variables may have as a model of loss increase; the observations tell which, none
#: yet: the first.
_RELATIVE: Final = (0.3, 0.2, 0.1)
#: Powers of what is cut with which loss increase may grow between a variable's ends; as above.
_CURVES: Final = (3.0, 2.0, 4.0, 6.0)
#: By how much ablations may be wrong of a level.
_ABLATION: Final = 0.5
_BUCKETS, _BUCKETS_EACH = 400, 8
#: How many times its room a plan may cost that is looked at: predictions err, and the edge is where quality is.
_BEYOND: Final = 1.05
#: By which factor intervals may be above their value; on a machine that changes its speed they reach that far.
_LOOSEST: Final = 3.0
#: What loss increase counts in `worth` beside quality, which alone cannot tell good plans apart.
_TELLS: Final = 0.05
#: A quality that has an end is of this many places in the box as bad as any.
_CHANCE: Final = 4.0


@dataclass(frozen=True)
class Expected:
    """Of N plans: cost as a share of dense, loss increase (below 0 where a model is better than the dense one), quality
    in the goal's box (lower is better), `worth`, which is the quality with a little of the loss increase, and the
    chance to be within every limit on a cost. *_doubt: standard deviations, of cost relative."""

    cost: Floats
    cost_doubt: Floats
    loss_increase: Floats
    loss_increase_doubt: Floats
    quality_drop: Floats
    worth: Floats
    within: Floats


class Surrogate:
    """Made anew as observations come in; making it takes milliseconds.

    cost_estimate: of the cost that is traded off; cost_limits: of other costs that are limited; settled: the levels
    that are evaluated where others are asked for, both being one model; scatter: standard deviation of the quality of
    plans that do like loss increase, of the better half of what was seen."""

    def __init__(self, forecast: Forecast, observations: Observations, space: SearchSpace) -> None:
        self.observations, self.sizes, self.settled = observations, space.sizes, space.settled
        self._prior = [np.array(row) for row in forecast.loss_increases]
        self._eps = 4 * max(forecast.noise, 1e-9)
        levels, goal = observations.levels.reshape(-1, len(self.sizes)), observations.goal
        recent = slice(max(len(levels) - _MOST, 0), None)
        name = goal.objectives[goal.cost].name if goal.cost is not None else ""
        known = forecast.cost(name)
        self.cost_estimate = CostEstimate(
            metric=name,
            forecast=known,
            sizes=self.sizes,
            levels=levels[recent],
            cost=observations.cost[recent],
            room=self._room(name),
        )
        self.cost_limits = tuple(
            self._cost_limit(cost_limit, found, levels[recent], observations.worst(cost_limit)[recent])
            for cost_limit in goal.cost_limits
            if cost_limit.metric.name != name and (found := forecast.cost(cost_limit.metric.name)) is not None
        )
        seen = levels[recent], observations.loss_increase[recent], observations.quality_drop[recent]
        self._loss_increases, self._loss_increase, self._relative = self._fit_loss_increase(*seen)
        linked = _linked(observations.loss_increase, observations.quality_drop)
        self._known_loss_increase, self._known_quality_drop, self.scatter = linked

    def expected(self, plans: Ints) -> Expected:
        """plans (N, variables)."""
        cost, doubt = self.cost_estimate.expected(plans)
        prior = _summed(self._loss_increases, plans)
        features = self._features(plans, prior)
        loss_increase = prior + features @ self._loss_increase.mean
        spread = np.sqrt(
            self._loss_increase.variance(features)
            + (self._relative * (np.maximum(loss_increase, 0.0) + self._eps)) ** 2
        )
        within = self.cost_estimate.chance(cost, doubt)
        for cost_limit in self.cost_limits:
            within = within * cost_limit.chance(*cost_limit.expected(plans))
        return Expected(
            cost=cost,
            cost_doubt=doubt,
            loss_increase=loss_increase,
            loss_increase_doubt=self._loss_increase.widening * spread,
            quality_drop=self.quality_drop(loss_increase),
            worth=self.worth(loss_increase),
            within=within,
        )

    def worth_seen(self) -> Floats:
        """(N,) the worth of evaluated plans, as their loss increase was seen."""
        return self.worth(self.observations.loss_increase)

    def worth(self, loss_increase: Floats) -> Floats:
        """The quality that goes with a loss increase, in the goal's box, and a little of the loss increase itself:
        where many plans are as
        good as dense, loss increase still tells which of them are near the edge."""
        scale = max(float(np.median(self._known_loss_increase)), self._eps)
        worth: Floats = self.quality_drop(loss_increase) + _TELLS * loss_increase / (np.abs(loss_increase) + scale)
        return worth

    def front(self, rng: np.random.Generator | None = None, beyond: float = _BEYOND) -> list[Levels]:
        """Plans of least loss increase by cost, under the mean of what is believed; with `rng`, under a draw from it.

        Of each limited cost, and of all together as shares of their room, as any of them may be what binds. beyond: how
        many times the room a plan may cost.
        """
        weights = self._loss_increase.mean if rng is None else self._loss_increase.draw(rng)
        loss_increases, start = [], 0
        for v, row in enumerate(self._loss_increases):
            steps = -np.diff(row) * (1 + weights[-1]) + weights[start : start + len(row) - 1]
            start += len(row) - 1
            # What is cut further hurts no less: a step down that seems to help is chance.
            below = np.cumsum(np.maximum(steps, 0.0)[::-1])[::-1]
            loss_increases.append(Part((v,), np.append(below, 0.0)))
        buckets = _BUCKETS + _BUCKETS_EACH * len(self.sizes)
        cost_estimates = (self.cost_estimate, *self.cost_limits)
        bounds = [
            (cost_estimate.parts, cost_estimate.reach(cost_estimate.room * beyond)) for cost_estimate in cost_estimates
        ]
        if self.cost_limits:
            ends = [reach if np.isfinite(reach) else 1.0 for _, reach in bounds]
            together = [
                Part(part.variables, part.values / max(end, 1e-12))
                for (parts, _), end in zip(bounds, ends, strict=True)
                for part in parts
            ]
            bounds.append((together, float(len(cost_estimates))))
        found = (
            plan for parts, most in bounds for plan in best_plans(self.sizes, parts, loss_increases, buckets, most)
        )
        return list(dict.fromkeys(found))

    def pressure(self, plans: Ints, target: float) -> Floats:
        """(N,) the cost, quickly told, or as much of a target as any other limited cost takes of its room, whichever is
        more: at most the target where all that is limited is within its limit."""
        return np.maximum(self.cost_estimate.quick(plans), target * self.taken(plans))

    def taken(self, plans: Ints) -> Floats:
        """(N,) how much of its room the worst of the costs takes that are limited beside the one that is traded off."""
        found = np.zeros(len(plans))
        for cost_limit in self.cost_limits:
            found = np.maximum(found, cost_limit.quick(plans) / cost_limit.room)
        return found

    def _fit_loss_increase(
        self, levels: Ints, loss_increase: Floats, quality_drop: Floats
    ) -> tuple[list[Floats], BayesianLinearRegression, float]:
        """Regression of loss increase on steps cut. Beyond chance more loss increase cannot be told from less: that a
        plan does so much is learned where less was expected of it, and nothing else."""
        goal = self.observations.goal
        ends = goal.quality is not None and math.isfinite(goal.objectives[goal.quality].worst)
        chance = quality_drop >= (_CHANCE if ends else math.inf)
        if chance.any():
            most = float(loss_increase[chance].min())
            told = ~chance | (_summed(self._prior, levels) < most)
            levels, loss_increase = levels[told], np.minimum(loss_increase, most)[told]
        fits = [self._fitted(_curved(self._prior, power), levels, loss_increase) for power in _CURVES]
        return max(fits, key=lambda fit: fit[1].likelihood)

    def _fitted(
        self, loss_increases: list[Floats], levels: Ints, loss_increase: Floats
    ) -> tuple[list[Floats], BayesianLinearRegression, float]:
        """The loss increase, its regression, and the relative error under which that is the likeliest."""
        prior = _summed(loss_increases, levels)
        # What ablations missed, groups that are harmless alone and not together, is for all steps alike to explain.
        missed = float(np.maximum(loss_increase - prior, 0.0).mean()) if len(loss_increase) else 0.0
        steps = np.concatenate([-np.diff(row) for row in loss_increases])
        least = max(self._eps / 8, missed / (2 * math.sqrt(len(steps))))
        variances = np.append((_ABLATION * (np.maximum(steps, 0.0) + least)) ** 2, 1.0)
        size = np.maximum(loss_increase, 0.0) + max(self._eps, 0.1 * missed)
        features = self._features(levels, prior)
        line, place = BayesianLinearRegression.fit(
            features, loss_increase - prior, variances, [each * size for each in _RELATIVE]
        )
        return loss_increases, line, _RELATIVE[place]

    def quality_drop(self, loss_increase: Floats) -> Floats:
        """The quality in the goal's box that goes with a loss increase."""
        if len(self._known_loss_increase) < 3:
            return loss_increase / max(float(sum(row.max() for row in self._loss_increases)), 1e-12)
        inside: Floats = np.interp(loss_increase, self._known_loss_increase, self._known_quality_drop)
        # Beyond what was seen it goes on as it did on the whole.
        slope = (self._known_quality_drop[-1] - self._known_quality_drop[0]) / max(
            self._known_loss_increase[-1] - self._known_loss_increase[0], 1e-12
        )
        beyond: Floats = slope * np.maximum(loss_increase - self._known_loss_increase[-1], 0.0)
        return inside + beyond

    def _room(self, name: str) -> float:
        """The highest expected cost that may still be within the limits, as a share of dense: limits are held against
        the worse end of an interval, whose usual width the observations tell."""
        cost_limit = next(
            (cost_limit for cost_limit in self.observations.goal.cost_limits if cost_limit.metric.name == name), None
        )
        if cost_limit is None:
            return np.inf
        bound, cost, worst = cost_limit.most, self.observations.cost, self.observations.worst(cost_limit)
        known = np.isfinite(worst) & (cost > 0)
        near = known & (cost > 0.25 * bound) & (cost < 1.5 * bound)
        widths = (worst / np.where(known, cost, 1.0))[near if near.any() else known]
        return bound / float(np.clip(np.median(widths), 1.0, _LOOSEST)) if widths.size else bound

    def _cost_limit(self, cost_limit: CostLimit, forecast: CostForecast, levels: Ints, worst: Floats) -> CostEstimate:
        """What is seen of it are worse ends of intervals, so that its room is the limit itself."""
        known = np.isfinite(worst)
        return CostEstimate(
            metric=cost_limit.metric.name,
            forecast=forecast,
            sizes=self.sizes,
            levels=levels[known],
            cost=worst[known],
            room=cost_limit.most,
        )

    def _features(self, plans: Ints, prior: Floats) -> Floats:
        """For each variable the steps that are cut away, and the sum of what ablations said, which is `prior`."""
        steps = [plans[:, [v]] <= np.arange(size - 1) for v, size in enumerate(self.sizes)]
        return np.column_stack([*steps, prior]).astype(float)


def _curved(prior: list[Floats], power: float) -> list[Floats]:
    """Damage that grows with another power of what is cut than its square; the ends stay."""
    worst = [max(float(row.max()), 1e-12) for row in prior]
    return [most * (np.maximum(row, 0.0) / most) ** (power / 2) for row, most in zip(prior, worst, strict=True)]


def _summed(loss_increases: list[Floats], plans: Ints) -> Floats:
    """(N,) the sum over variables of what the plans' levels do."""
    found = np.zeros(len(plans))
    for v, row in enumerate(loss_increases):
        found += row[plans[:, v]]
    return found


def _linked(loss_increase: Floats, quality_drop: Floats) -> tuple[Floats, Floats, float]:
    """Loss increases in order, the quality drop that goes with each, and how far the better half of what was seen
    scatters around that: the monotone step function nearest to what was seen (Barlow et al. 1972)."""
    from scipy.optimize import isotonic_regression  # half a second for every process, few of which come here

    loss_increase, quality_drop = np.append(0.0, loss_increase), np.append(0.0, quality_drop)  # the dense model
    order = np.argsort(loss_increase, kind="stable")
    fitted = np.maximum.accumulate(isotonic_regression(quality_drop[order]).x)
    better = slice((len(loss_increase) + 1) // 2)
    return loss_increase[order], fitted, float(np.std((quality_drop[order] - fitted)[better]))
