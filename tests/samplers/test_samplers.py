import numpy as np
import pytest

from autoprune import registry
from autoprune.samplers.uniform import van_der_corput
from autoprune.testing.sampler import SamplerConformance, small_space

#: Samplers whose proposals take a second or so in long studies, or that learn as they go.
SLOW = ("gp", "ddpg")


@pytest.mark.parametrize("name", [name for name in registry.names("samplers") if name not in SLOW], scope="class")
class TestEverySampler(SamplerConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW, scope="class")
class TestSlowSamplers(SamplerConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


def test_a_sampler_that_learns_repeats_itself_under_one_seed():
    suite = SamplerConformance()
    suite.name = "ddpg"
    assert suite.asked(25, seed=3) == suite.asked(25, seed=3)


def test_random_differs_from_seed_to_seed():
    suite = SamplerConformance()
    suite.name = "random"
    assert suite.asked(20, seed=1) != suite.asked(20, seed=2)


def test_uniform_proposes_uniform_plans_over_the_whole_range():
    suite = SamplerConformance()
    suite.name = "uniform"
    found = suite.asked(16, seed=0)
    assert all(len(set(params.values())) == 1 for params in found)
    assert {params["g0"] for params in found} >= {0, 2, 4, 6}
    assert [count for (count,) in small_space().variables[0].levels] == [8, 16, 24, 32, 40, 48, 56, 64]


def test_van_der_corput_fills_the_unit_interval_evenly():
    assert [van_der_corput(k) for k in range(1, 8)] == [0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]
    assert np.max(np.diff(sorted(van_der_corput(k) for k in range(1, 64)))) <= 1 / 32
