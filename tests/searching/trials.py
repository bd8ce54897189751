"""What tests of searches share: a space, a quality, and trials of it."""

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.trial import Trial, TrialState
from autoprune.testing.sampler import small_space

SPACE = small_space(groups=3, size=32)
QUALITY = Metric("accuracy", "1", lower_is_better=False, high=1.0)


def trial(number, accuracy, params, excess=0.0):
    found = {
        "accuracy": Measurement.exact("accuracy", accuracy, "1"),
        "params": Measurement.exact("params", params, "1"),
    }
    return Trial(number, SPACE.dense(), TrialState.COMPLETE, found, {"params": excess})
