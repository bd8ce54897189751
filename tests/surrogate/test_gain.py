import moocore
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.surrogate.gain import added, volume

points = st.lists(st.tuples(st.floats(0, 1.5), st.floats(-0.5, 1.5)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(points)
def test_the_volume_is_the_hypervolume(found):
    array = np.array(found)
    inside = array[(array < 1).all(axis=1)]
    expected = moocore.hypervolume(inside, ref=[1.0, 1.0]) if len(inside) else 0.0
    assert abs(volume(array[:, 0], array[:, 1]) - expected) < 1e-9


@settings(max_examples=60, deadline=None)
@given(points, st.tuples(st.floats(0, 1.5), st.floats(-0.5, 1.5)))
def test_what_a_point_adds_is_the_difference_of_volumes(found, point):
    array = np.array(found)
    more = np.vstack([array, point])
    expected = volume(more[:, 0], more[:, 1]) - volume(array[:, 0], array[:, 1])
    gain = added(np.array([point[0]]), np.array([point[1]]), array[:, 0], array[:, 1])
    assert abs(gain[0] - expected) < 1e-9
