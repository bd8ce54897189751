"""What a forecast and the evidence say together of any plan: cost, harm and quality, each with its doubt.

Costs: the forecast times a factor that evaluated plans refit. Harm (the increase of the task's loss): a sum over
variables of what each level does, as ablations found it, refitted by regression with relative errors. Quality: what
plans of such harm scored. Knows nothing of who asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoprune.core.forecast import Forecast
from autoprune.core.space import SearchSpace
from autoprune.surrogate.evidence import Evidence, Floats, Ints, share
from autoprune.surrogate.knapsack import Levels, Part, Sum, best_plans
from autoprune.surrogate.line import Line

#: So many plans are fitted at most: the last ones, which lie where the search has come to.
_MOST: Final = 256
#: Relative error of a sum over variables as a model of harm, and by how much ablations may be wrong of a level.
_RELATIVE, _ABLATION = 0.3, 0.5
#: Deviations that a cost's factor may have: of all plans alike, with size, and by the level of a variable.
_ALIKE, _BY_SIZE = 0.5, 0.2
_BY_LEVEL: Final = (0.01, 0.03, 0.1)
_COST_NOISE: Final = (0.01, 0.02, 0.05)
_BUCKETS, _BUCKETS_EACH = 400, 8
#: What harm counts in `worth` beside quality, which alone cannot tell good plans apart.
_TELLS: Final = 0.05
#: Intervals are made to hold so much, which are so many deviations of a normal distribution; and at most so much wider.
_COVERED, _SIGMAS, _WIDEST = 0.95, 1.96, 3.0
#: Harm of this many places in the box is as bad as any.
_CHANCE: Final = 4.0


@dataclass(frozen=True)
class Expected:
    """Of N plans: cost as a share of dense, harm (below 0 where a model is better than the dense one), quality in the
    aim's box (lower is better), and `worth`, which is the quality with a little of the harm. *_doubt: standard
    deviations, of cost relative."""

    cost: Floats
    cost_doubt: Floats
    harm: Floats
    harm_doubt: Floats
    loss: Floats
    worth: Floats


class Belief:
    """Made anew as evidence comes in; making it takes milliseconds.

    settled: the levels that are evaluated where others are asked for, both being one model; scatter: standard deviation
    of the quality of plans that do like harm, of the better half of what was seen.
    """

    def __init__(self, forecast: Forecast, evidence: Evidence, space: SearchSpace) -> None:
        sizes, aim = space.sizes, evidence.aim
        self.evidence, self.sizes, self.settled = evidence, sizes, space.settled
        name = aim.objectives[aim.cost].name if aim.cost is not None else ""
        found = forecast.cost(name)
        terms = () if found is None else found.terms
        dense = found.at([size - 1 for size in sizes]) if found is not None else 1.0
        self._costs = [Part(t.variables, np.array(t.values).reshape(t.shape) / dense) for t in terms]
        self._cost_sum = Sum(self._costs, len(sizes))
        self._offset = 0.0 if found is None else found.offset / dense
        self._counted = found is not None and found.error == 0
        self._damage = [np.array(row) for row in forecast.damage]
        self._eps = 4 * max(forecast.noise, 1e-9)
        levels, cost, harm = evidence.levels.reshape(-1, len(sizes)), evidence.cost, evidence.harm
        recent = slice(max(len(harm) - _MOST, 0), None)
        self._fit_cost(levels[recent], cost[recent])
        self._fit_harm(levels[recent], harm[recent], evidence.loss[recent])
        self._link(harm, evidence.loss)
        self.room = self._room()

    def expected(self, plans: Ints) -> Expected:
        """plans (N, variables)."""
        base = self._base(plans)
        features = self._cost_features(plans, base)
        cost = base * np.exp(features @ self._cost.mean)
        doubt = _widened(self._cost) * np.sqrt(self._cost.variance(features) + self._cost_noise**2)
        prior, features = self._prior(plans), self._harm_features(plans)
        harm = prior + features @ self._harm.mean
        spread = np.sqrt(self._harm.variance(features) + (_RELATIVE * (np.maximum(harm, 0.0) + self._eps)) ** 2)
        harm_doubt = _widened(self._harm) * spread
        return Expected(cost, doubt, harm, harm_doubt, self._loss(harm), self.worth(harm))

    def worth_seen(self) -> Floats:
        """(N,) the worth of evaluated plans, as their harm was seen."""
        return self.worth(self.evidence.harm)

    def worth(self, harm: Floats) -> Floats:
        """The quality that goes with a harm, in the aim's box, and a little of the harm itself: where many plans are as
        good as dense, harm still tells which of them are near the edge."""
        scale = max(float(np.median(self._known_harm)), self._eps)
        worth: Floats = self._loss(harm) + _TELLS * harm / (np.abs(harm) + scale)
        return worth

    def front(self, rng: np.random.Generator | None = None, most: float | None = None) -> list[Levels]:
        """Plans of least harm by cost, under the mean of what is believed; with `rng`, under a draw from it.

        most: the highest cost that is of interest, as a share of dense; default: the room that limits leave.
        """
        weights = self._harm.mean if rng is None else self._harm.draw(rng)
        parts, start = [], 0
        for v, row in enumerate(self._damage):
            steps = -np.diff(row) * (1 + weights[-1]) + weights[start : start + len(row) - 1]
            start += len(row) - 1
            # What is cut further hurts no less: a step down that seems to help is chance.
            below = np.cumsum(np.maximum(steps, 0.0)[::-1])[::-1]
            parts.append(Part((v,), np.append(below, 0.0)))
        room = self.room if most is None else most
        buckets = _BUCKETS + _BUCKETS_EACH * len(self.sizes)
        factor = float(np.exp(self._cost.mean[0]))
        return best_plans(self.sizes, self._costs, parts, buckets, max(room / factor * 1.05 - self._offset, 0.0))

    def base_cost(self, plans: Ints) -> Floats:
        """The cost as the forecast has it, with the factor that all plans share; quick."""
        found: Floats = self._base(plans) * np.exp(self._cost.mean[0])
        return found

    def _fit_cost(self, levels: Ints, cost: Floats) -> None:
        base = self._base(levels)
        self._middle = float(np.log(base).mean()) if len(base) else 0.0
        features, target = self._cost_features(levels, base), np.log(np.maximum(cost, 1e-12)) - np.log(base)
        count = features.shape[1] - 2
        choices = [(0.0, 1e-4)] if self._counted else [(own, noise) for own in _BY_LEVEL for noise in _COST_NOISE]
        fits = []
        for own, noise in choices:
            prior = np.array([_ALIKE**2, _BY_SIZE**2] + [own**2] * count)
            fits.append((Line.fit(features, target, prior, np.full(len(target), noise)), noise))
        self._cost, self._cost_noise = max(fits, key=lambda fit: fit[0].likelihood)

    def _fit_harm(self, levels: Ints, harm: Floats, loss: Floats) -> None:
        told = loss < _CHANCE
        levels, harm = levels[told], harm[told]
        steps = np.concatenate([-np.diff(row) for row in self._damage])
        prior = np.append((_ABLATION * (np.maximum(steps, 0.0) + self._eps / 8)) ** 2, 1.0)
        noise = _RELATIVE * (np.maximum(harm, 0.0) + self._eps)
        self._harm = Line.fit(self._harm_features(levels), harm - self._prior(levels), prior, noise)

    def _link(self, harm: Floats, loss: Floats) -> None:
        """Quality by harm: the monotone step function nearest to what was seen (Barlow et al. 1972)."""
        from sklearn.isotonic import isotonic_regression  # seconds to import

        harm, loss = np.append(0.0, harm), np.append(0.0, loss)  # the dense model
        order = np.argsort(harm, kind="stable")
        self._known_harm = harm[order]
        self._known_loss = np.maximum.accumulate(isotonic_regression(loss[order]))
        better = slice((len(harm) + 1) // 2)
        self.scatter = float(np.std((loss[order] - self._known_loss)[better]))

    def _loss(self, harm: Floats) -> Floats:
        if len(self._known_harm) < 3:
            return harm / max(float(sum(row.max() for row in self._damage)), 1e-12)
        inside: Floats = np.interp(harm, self._known_harm, self._known_loss)
        # Beyond what was seen it goes on as it did on the whole.
        slope = (self._known_loss[-1] - self._known_loss[0]) / max(self._known_harm[-1] - self._known_harm[0], 1e-12)
        beyond: Floats = slope * np.maximum(harm - self._known_harm[-1], 0.0)
        return inside + beyond

    def _room(self) -> float:
        """The highest expected cost that may still be within the limits, as a share of dense: limits are held against
        the worse end of an interval, whose usual width the evidence tells."""
        aim, place = self.evidence.aim, self.evidence.aim.cost
        if place is None or (limit := aim.limits[place]) is None:
            return np.inf
        metric, bound = aim.objectives[place], share(aim.objectives[place], limit, aim.dense[place])
        widths = [
            bound * (1 + excess) / cost
            for each, cost in zip(self.evidence.seen, self.evidence.cost, strict=True)
            if (excess := each.excess_of(metric.name)) is not None and 0.5 * bound < cost < 1.5 * bound
        ]
        return bound / float(np.clip(np.median(widths), 1.0, 1.5)) if widths else bound

    def _base(self, plans: Ints) -> Floats:
        return np.maximum(self._offset + self._cost_sum(plans), 1e-12)

    def _cost_features(self, plans: Ints, base: Floats) -> Floats:
        """One for all, the size, and one a level of each variable."""
        ones = [np.eye(size)[plans[:, v]] for v, size in enumerate(self.sizes)]
        return np.column_stack([np.ones(len(plans)), np.log(base) - self._middle, *ones])

    def _harm_features(self, plans: Ints) -> Floats:
        """For each variable the steps that are cut away, and the sum of what ablations said."""
        steps = [plans[:, [v]] <= np.arange(size - 1) for v, size in enumerate(self.sizes)]
        return np.column_stack([*steps, self._prior(plans)]).astype(float)

    def _prior(self, plans: Ints) -> Floats:
        found = np.zeros(len(plans))
        for v, row in enumerate(self._damage):
            found += row[plans[:, v]]
        return found


def _widened(line: Line) -> float:
    """By how much wider an interval must be to hold 95 % of the observations, each predicted by the others."""
    misses = np.sort(line.misses())
    if not misses.size:
        return 1.0
    place = min(math.ceil(_COVERED * (len(misses) + 1)), len(misses)) - 1
    return float(np.clip(misses[place] / _SIGMAS, 1.0, _WIDEST))
