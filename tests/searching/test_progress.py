import time

import moocore
import numpy as np
import pytest

from autoprune.core.effort import Effort
from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS
from autoprune.core.trial import Trial, TrialState
from autoprune.searching.progress import Progress
from autoprune.testing.fakes import FakeClock
from tests.searching.trials import QUALITY, SPACE, trial

GOAL = SearchGoal((QUALITY, COSTS["params"]), (0.9, 1000.0), (None, 900.0))


def test_a_line_says_how_far_how_well_and_how_long_still():
    clock = FakeClock()
    progress = Progress(GOAL, Effort(trials=20), clock, workers=2)
    progress.resume([trial(k, 0.5, 900, 1.0) for k in range(8)])
    clock.advance(30)
    progress.add(trial(8, 0.8, 400, 1.0), busy=2)
    clock.advance(30)
    state = progress.add(trial(9, 0.9, 500), busy=1)
    assert state == {"trials": 10, "front": 2, "best": 9, "hypervolume": 0.55, "per_minute": 2.0, "busy": 1}
    line = progress.line(state)
    for words in ("front 2", "best accuracy 0.9, params 500", "volume 0.550", "2/min", "5 min left", "1/2 busy"):
        assert words in line


def test_the_best_is_not_forgotten_where_one_beyond_the_budget_beats_it():
    progress = Progress(GOAL, Effort(), FakeClock(), 1)
    progress.add(trial(1, 0.8, 500), 1)
    assert progress.add(trial(2, 0.9, 400, excess=1.0), 1)["best"] == 1
    assert progress.volume() == pytest.approx(0.6)


@pytest.mark.slow
def test_volume_of_many_objectives_is_nearly_exact_and_quick():
    names = ("params", "flops", "size", "latency")
    goal = SearchGoal((QUALITY, *(COSTS[name] for name in names)), (0.9, 1.0, 1.0, 1.0, 1.0), (None,) * 5)
    progress, rng, points = Progress(goal, Effort(), FakeClock(), 1), np.random.default_rng(0), []
    start = time.perf_counter()
    for number in range(120):
        values = rng.uniform(0.2, 1, 4)
        quality = 0.9 - 0.2 * float(1 - values.mean())
        found = {"accuracy": Measurement.exact("accuracy", quality, "1")}
        found |= {name: Measurement.exact(name, float(v), "1") for name, v in zip(names, values, strict=True)}
        progress.add(Trial(number, SPACE.dense(), TrialState.COMPLETE, found, {}), 1)
        points.append((1 - values.mean(), *values))
    assert time.perf_counter() - start < 20
    assert progress.volume() == pytest.approx(moocore.hypervolume(np.array(points), ref=[1.0] * 5), abs=0.01)


def test_where_all_is_far_below_dense_the_box_reaches_there_and_says_so():
    progress = Progress(GOAL, Effort(), FakeClock(), 1)
    state = progress.add(trial(1, 0.4, 500), 1)
    assert 0 < state["hypervolume"] < 1
    assert "in a box 3.0 times as deep as usual" in progress.line(state)
    assert progress.add(trial(2, 0.85, 500), 1)["hypervolume"] == pytest.approx(0.375)
