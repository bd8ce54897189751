import pytest

from autoprune.core.budget import AtLeast, Budget
from autoprune.core.metric import MetricKey, cost


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("latency", MetricKey("latency")),
        ("latency.p99@pi", MetricKey("latency", "p99", "pi")),
        ("latency.relative", MetricKey("latency", "relative")),
        ("params", MetricKey("params")),
        ("f1.macro", MetricKey("f1.macro")),
        ("f1.p99", MetricKey("f1.p99")),
        ("energy.mine", MetricKey("energy.mine")),
        ("map@50", MetricKey("map", device="50")),
    ],
)
def test_a_key_is_read_as_it_is_written(text, key):
    assert MetricKey.parse(text) == key
    assert str(key) == text


def test_a_quality_with_a_dot_in_its_name_is_limited_under_that_name():
    (limit,) = Budget.of(**{"f1.macro": AtLeast(0.1)}).limits
    assert limit.key == "f1.macro"
    assert not limit.is_cost
    assert cost("energy.mine") is None
