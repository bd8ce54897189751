import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core import quantity
from autoprune.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5m", 90)])
def test_durations(text, seconds):
    assert quantity.duration(text) == seconds


@pytest.mark.parametrize("text", ["10", "10ms", "-5s", "0s", "ten", "1e999s", ""])
def test_bad_durations_are_refused(text):
    with pytest.raises(UsageError):
        quantity.duration(text)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.005, "s", "5 ms"),
        (1e-8, "s", "10 ns"),
        (2**20, "B", "1 MiB"),
        (1.5e6, "1", "1.5M"),
        (0.97, "1", "0.97"),
        (200, "1/s", "200/s"),
        (4.2e-8, "kg", "42 ug"),
    ],
)
def test_values_are_shown_in_a_unit_that_fits(value, unit, shown):
    assert quantity.show(value, unit) == shown


@given(st.floats(1e-12, 1e12), st.sampled_from(["s", "B", "J", "kg", "1", "1/s"]))
def test_every_value_can_be_shown(value, unit):
    assert quantity.show(value, unit)
