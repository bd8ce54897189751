"""One cost of plans: a forecast times a factor that evaluated plans refit. Knows tables and shares of the dense model's
cost; not which limit or objective it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from autoprune.core.forecast import CostForecast
from autoprune.surrogate.knapsack import Part, Sum
from autoprune.surrogate.linear_regression import BayesianLinearRegression
from autoprune.surrogate.observations import Floats, Ints

#: Deviations that the factor may have: of all plans alike, with size, and by the level of a variable.
_ALIKE, _BY_SIZE = 0.5, 0.2
_BY_LEVEL: Final = (0.01, 0.03, 0.1)
_NOISE: Final = (0.01, 0.02, 0.05, 0.2)
#: What was counted is exact, unless observations say that it had to be approximated.
_EXACT: Final = (0.0, 1e-4)
#: Shares of the dense model's cost below which no forecast is believed: sums of measured parts may fall below zero.
_LEAST: Final = 0.002
#: The size's exponent stays above this, so that the factor can be undone.
_FLATTEST: Final = 0.2


class CostEstimate:
    """metric: its name; parts: what varies of the forecast, as shares of the dense model's cost; room: the highest cost
    that is expected to be within the limit, infinite where there is none."""

    def __init__(
        self, metric: str, forecast: CostForecast | None, sizes: Sequence[int], levels: Ints, cost: Floats, room: float
    ) -> None:
        """levels (N, variables) and cost (N,) of evaluated plans."""
        self.metric, self.room, self._sizes = metric, room, sizes
        terms = () if forecast is None else forecast.terms
        dense = 1.0 if forecast is None else forecast.at([size - 1 for size in sizes])
        self.parts = [Part(term.variables, np.array(term.values).reshape(term.shape) / dense) for term in terms]
        self._sum = Sum(self.parts, len(sizes))
        self.offset = 0.0 if forecast is None else forecast.offset / dense
        counted = forecast is not None and forecast.error == 0
        self._least = 1e-12 if counted else _LEAST
        base = self._base(levels)
        self._middle = float(np.log(base).mean()) if len(base) else 0.0
        features, target = self._features(levels, base), np.log(np.maximum(cost, 1e-12)) - np.log(base)
        fits = []
        for own, noises in [*[(_EXACT[0], _EXACT[1:])] * counted, *((own, _NOISE) for own in _BY_LEVEL)]:
            prior = np.array([_ALIKE**2, _BY_SIZE**2] + [own**2] * (features.shape[1] - 2))
            line, place = BayesianLinearRegression.fit(
                features, target, prior, [np.full(len(target), noise) for noise in noises]
            )
            fits.append((line, noises[place]))
        self._line, self._noise = max(fits, key=lambda fit: fit[0].likelihood)

    def expected(self, plans: Ints) -> tuple[Floats, Floats]:
        """(N,) costs and their relative standard deviations."""
        base = self._base(plans)
        features = self._features(plans, base)
        doubt = self._line.widening * np.sqrt(self._line.variance(features) + self._noise**2)
        return base * np.exp(features @ self._line.mean), doubt

    def quick(self, plans: Ints) -> Floats:
        """(N,) costs without what single levels do to the factor; quick."""
        found: Floats = np.exp(self._intercept) * self._base(plans) ** self._exponent
        return found

    def reach(self, cost: float) -> float:
        """Up to where the sum of the parts may go for `quick` to be within a cost."""
        if not np.isfinite(cost):
            return float(np.inf)
        base = float((cost / np.exp(self._intercept)) ** (1 / self._exponent))
        return max(base - self.offset, 0.0)

    def chance(self, cost: Floats, doubt: Floats) -> Floats:
        """(N,) that costs turn out to be within the limit, by the logistic approximation of the normal distribution."""
        if not np.isfinite(self.room):
            return np.ones(len(cost))
        sigmas = np.log(self.room / cost) / doubt
        found: Floats = 1 / (1 + np.exp(-1.702 * np.clip(sigmas, -40, 40)))
        return found

    @property
    def _exponent(self) -> float:
        return max(1 + float(self._line.mean[1]), _FLATTEST)

    @property
    def _intercept(self) -> float:
        return float(self._line.mean[0]) + (1 - self._exponent) * self._middle

    def _base(self, plans: Ints) -> Floats:
        return np.maximum(self.offset + self._sum(plans), self._least)

    def _features(self, plans: Ints, base: Floats) -> Floats:
        """One for all, the size, and one a level of each variable."""
        ones = [np.eye(size)[plans[:, v]] for v, size in enumerate(self._sizes)]
        return np.column_stack([np.ones(len(plans)), np.log(base) - self._middle, *ones])
