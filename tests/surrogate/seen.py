"""What tests of the surrogate share: plans that were seen, and what is believed after them."""

import numpy as np

from autoprune.core.proposal import Proposal
from autoprune.surrogate.observations import Observation, Observations
from autoprune.surrogate.surrogate import Surrogate
from autoprune.testing.sampler import OBJECTIVES, pretended, small_context, small_space

SPACE = small_space()
CONTEXT = small_context(SPACE, most=0.6)


def seen(count, seed=0, latency=1.0):
    """Random plans as `pretended` answers them; latency: what costs are multiplied with."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        levels = tuple(int(level) for level in rng.integers(0, CONTEXT.sizes))
        trial = pretended(Proposal(number, SPACE.at(levels)), 0.6)
        quality, cost = (trial.value(metric.name) for metric in OBJECTIVES)
        found.append(Observation(number, levels, (quality, latency * cost), None, trial.excesses))
    return tuple(found)


def believed(count, latency=1.0, forecast=None):
    return Surrogate(
        forecast or CONTEXT.forecast, Observations(CONTEXT.goal, seen(count, latency=latency)), CONTEXT.space
    )
