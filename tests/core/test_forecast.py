import dataclasses
import json

import pytest

from autoprune.core.forecast import Forecast
from autoprune.errors import StorageError
from autoprune.testing.sampler import small_context, small_space

FORECAST = small_context(small_space()).forecast


def test_it_is_read_as_it_was_written():
    assert Forecast.decoded(FORECAST.encoded()) == FORECAST


def test_a_forecast_of_an_earlier_version_is_read():
    data = json.loads(FORECAST.encoded())
    data["damage"] = data.pop("loss_increases")
    assert Forecast.decoded(json.dumps(data).encode()) == FORECAST


def test_a_cost_is_the_sum_of_its_terms():
    assert FORECAST.cost("params").at([7] * 5) == 5 * 64
    assert FORECAST.cost("params").at([0, 7, 7, 7, 0]) == 3 * 64 + 2 * 8
    assert FORECAST.cost("latency") is None


@pytest.mark.parametrize("change", ["cut", "missing", "shape", "infinite"])
def test_a_damaged_file_says_what_to_do(change):
    data = json.loads(FORECAST.encoded())
    if change == "missing":
        del data["noise"]
    if change == "shape":
        data["costs"][0]["terms"][0]["shape"] = [3]
    if change == "infinite":
        data["loss_increases"][0][0] = float("inf")
    content = FORECAST.encoded()[:-5] if change == "cut" else json.dumps(data).encode()
    with pytest.raises(StorageError, match="remove the run's forecast.json"):
        Forecast.decoded(content)


def test_every_number_survives():
    odd = dataclasses.replace(FORECAST, noise=1 / 3, seconds=1e-300)
    assert Forecast.decoded(odd.encoded()) == odd
