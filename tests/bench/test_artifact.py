import numpy as np
import pytest

from autoprune.bench.artifact import deviation

WHOLE = np.array([1.0, 2.0, -np.inf, np.nan])


@pytest.mark.parametrize(
    ("found", "distance"),
    [
        ([1.0, 2.0, -np.inf, np.nan], 0.0), ([1.0, 2.1, -np.inf, np.nan], 0.1 / 5**0.5),
        ([1.0, 2.0, np.inf, np.nan], np.inf), ([1.0, 2.0, 0.0, np.nan], np.inf), ([np.nan, 2.0, -np.inf, np.nan], np.inf),
        ([np.inf, 2.0, -np.inf, np.nan], np.inf), ([1.0, 2.0, -np.inf], np.inf),
    ],
)  # fmt: skip
def test_outputs_compare_where_finite_and_agree_elsewhere(found, distance):
    assert deviation([np.array(found)], [WHOLE]) == pytest.approx(distance)


def test_no_outputs_are_no_agreement():
    assert deviation([], [WHOLE]) == np.inf
