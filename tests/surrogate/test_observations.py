import math

import pytest

from autoprune.core.goal import SearchGoal
from autoprune.core.metric import COSTS, Metric
from autoprune.surrogate.observations import loss_increase


@pytest.mark.parametrize(
    ("metric", "dense", "far"),
    [
        (Metric("perplexity", "1", lower_is_better=True), 10.0, 1e6),
        (Metric("r2", "1", lower_is_better=False, low=-math.inf, high=1.0), 0.9, -500.0),
    ],
)
def test_unbounded_quality_counts_by_its_logarithm_far_away(metric, dense, far):
    goal = SearchGoal((metric, COSTS["latency"]), (dense, 1.0), (None, None))
    assert 1 < loss_increase(goal, (far, 0.5), None) < 15


def test_what_has_a_bad_end_counts_as_it_is():
    bleu = Metric("bleu", "1", lower_is_better=False)
    goal = SearchGoal((bleu, COSTS["latency"]), (30.0, 1.0), (None, None))
    assert loss_increase(goal, (0.0, 0.5), None) == pytest.approx(5.0)
