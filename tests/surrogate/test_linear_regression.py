import numpy as np
import pytest

from autoprune.surrogate.linear_regression import BayesianLinearRegression


@pytest.fixture
def line():
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(12, 5)), rng.normal(size=12)
    return BayesianLinearRegression.fit(features, target, np.array([0.5, 1.0, 2.0, 0.1, 3.0]), [np.full(12, 0.3)])[0]


def posterior(line):
    """Mean and covariance in the space of weights (Bishop 2006, equations 3.50 and 3.51)."""
    precision = np.diag(1 / line.prior) + (line.features.T / line.noise**2) @ line.features
    covariance = np.linalg.inv(precision)
    return covariance @ (line.features.T / line.noise**2) @ line.target, covariance


def test_mean_and_variance_are_those_of_the_weights_own_space(line):
    mean, covariance = posterior(line)
    assert line.mean == pytest.approx(mean)
    unseen = np.random.default_rng(1).normal(size=(7, 5))
    assert line.variance(unseen) == pytest.approx(np.einsum("nd,de,ne->n", unseen, covariance, unseen))


def test_draws_have_the_posteriors_mean_and_covariance(line):
    mean, covariance = posterior(line)
    rng = np.random.default_rng(2)
    draws = np.array([line.draw(rng) for _ in range(4000)])
    assert draws.mean(axis=0) == pytest.approx(mean, abs=0.03)
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.02)


def test_without_observations_the_prior_is_what_is_believed():
    line = BayesianLinearRegression.fit(np.zeros((0, 2)), np.zeros(0), np.array([1.0, 4.0]), [np.zeros(0)])[0]
    assert line.mean == pytest.approx([0.0, 0.0])
    assert line.variance(np.eye(2)) == pytest.approx([1.0, 4.0])


def test_misses_are_those_of_each_observation_predicted_by_all_others(line):
    for k, miss in enumerate(line.misses()):
        others = np.arange(12) != k
        left, _ = BayesianLinearRegression.fit(
            line.features[others], line.target[others], line.prior, [line.noise[others]]
        )
        spread = np.sqrt(left.variance(line.features[[k]]) + line.noise[k] ** 2)
        assert miss == pytest.approx(abs(line.target[k] - line.features[k] @ left.mean) / spread[0])


def test_of_several_noises_the_likeliest_is_taken():
    rng, noises = np.random.default_rng(3), [np.full(200, each) for each in (0.1, 0.4, 1.6)]
    features, prior = rng.normal(size=(200, 4)), np.ones(4)
    for place, noise in enumerate(noises):
        target = features @ rng.normal(size=4) + noise * rng.normal(size=200)
        line, found = BayesianLinearRegression.fit(features, target, prior, noises)
        assert found == place
        alone = [BayesianLinearRegression.fit(features, target, prior, [each])[0].likelihood for each in noises]
        assert line.likelihood == pytest.approx(max(alone))
