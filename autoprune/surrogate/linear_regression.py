"""Bayesian linear regression with a prior for each weight (Bishop 2006, section 3.3), computed in the space of
observations, of which there are fewer than weights. Knows arrays only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

Floats = NDArray[np.float64]

#: Intervals are made to hold so much, which are so many deviations of a normal distribution; and at most so much wider.
_COVERED: Final = 0.95
_SIGMAS, _WIDEST = 1.96, 3.0


@dataclass(frozen=True)
class BayesianLinearRegression:
    """y = features @ weights + noise, weights ~ N(0, prior), noise ~ N(0, noise^2), each observation with its own.

    target: y; mean: of the weights given the observations; factor: of Cholesky, of the covariance of y; likelihood: log
    observations, up to a constant.
    """

    features: Floats
    target: Floats
    prior: Floats
    noise: Floats
    mean: Floats
    factor: Floats
    likelihood: float

    @classmethod
    def fit(
        cls, features: Floats, target: Floats, prior: Floats, noises: Sequence[Floats]
    ) -> tuple[BayesianLinearRegression, int]:
        """features (N, D), target (N,), prior variances (D,); N may be 0. noises: deviations (N,), of which those are
        taken under which the observations are likeliest; and their place."""
        shared, fits = (features * prior) @ features.T, []
        for noise in noises:
            factor = np.asarray(np.linalg.cholesky(shared + np.diag(noise**2)), np.float64)
            white = solve_triangular(factor, target, lower=True)
            fits.append((-0.5 * float(white @ white) - float(np.log(np.diag(factor)).sum()), factor, white))
        place = max(range(len(fits)), key=lambda k: fits[k][0])
        likelihood, factor, white = fits[place]
        mean = prior * (features.T @ solve_triangular(factor, white, lower=True, trans="T"))
        return cls(features, target, prior, noises[place], mean, factor, likelihood), place

    @cached_property
    def whitening(self) -> Floats:
        """(N, N) the factor's inverse, which each prediction needs."""
        found: Floats = solve_triangular(self.factor, np.eye(len(self.factor)), lower=True)
        return found

    def variance(self, features: Floats) -> Floats:
        """(M,) of the predictions at features (M, D), without noise."""
        seen = self.whitening @ ((self.features * self.prior) @ features.T)
        found: Floats = np.maximum((features**2 * self.prior).sum(1) - (seen**2).sum(0), 0.0)
        return found

    def misses(self) -> Floats:
        """(N,) of each observation, how far it is from what all others predict, in predicted standard deviations
        (Rasmussen and Williams 2006, equations 5.10 to 5.12)."""
        precision = self.whitening.T @ self.whitening
        found: Floats = np.abs(precision @ self.target) / np.sqrt(np.diag(precision))
        return found

    @property
    def widening(self) -> float:
        """By how much wider an interval must be to hold 95 % of the observations, each predicted by the others."""
        misses = np.sort(self.misses())
        if not misses.size:
            return 1.0
        place = min(math.ceil(_COVERED * (len(misses) + 1)), len(misses)) - 1
        return float(np.clip(misses[place] / _SIGMAS, 1.0, _WIDEST))

    def draw(self, rng: np.random.Generator) -> Floats:
        """Weights from the posterior, by Matheron's rule: a draw from the prior, moved as the observations move it."""
        weights = rng.normal(size=len(self.prior)) * np.sqrt(self.prior)
        imagined = self.features @ weights + rng.normal(size=len(self.noise)) * self.noise
        solved = self.whitening.T @ (self.whitening @ (self.target - imagined))
        moved: Floats = weights + self.prior * (self.features.T @ solved)
        return moved
