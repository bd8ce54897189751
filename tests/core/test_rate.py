import pytest

from autoprune.core.measurement import Measurement
from autoprune.core.rate import Rate, parse_rates, rated
from autoprune.errors import UsageError

MEASURED = {
    "latency": Measurement("latency", 0.02, "s", 0.01, 0.03, n=7),
    "energy": Measurement("energy", 0.5, "J", 0.4, 0.6, valid=False, note="other work"),
}


@pytest.mark.parametrize(
    ("text", "of", "value", "unit"),
    [
        ("carbon=350g/kWh", "energy", 0.5 * 0.350 / 3.6e6, "kg"),
        ("price=0.36/h", "latency", 0.02 * 0.36 / 3600, "1"),
        ("price=0.30/kWh", "energy", 0.5 * 0.30 / 3.6e6, "1"),
    ],
)
def test_what_follows_by_a_rate_keeps_the_doubt_of_what_it_follows_from(text, of, value, unit):
    (found,) = rated(MEASURED, parse_rates([text])).values()
    base = MEASURED[of]
    assert (found.value, found.unit) == (pytest.approx(value), unit)
    assert found.high / found.value == pytest.approx(base.high / base.value)
    assert (found.n, found.valid, found.note) == (base.n, base.valid, base.note)


def test_nothing_follows_from_what_is_not_measured():
    assert rated({"latency": MEASURED["latency"]}, [Rate.parse("carbon=350g/kWh")]) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("carbon=350g/h", "carbon per kWh"), ("latency=3/h", "price per kWh or h"), ("carbon=350/kWh", "one of the units"),
        ("price=-1/h", "above 0"), ("price=0/h", "above 0"), ("price", "a rate"), ("price=dear/h", "decimal number"),
    ],
)  # fmt: skip
def test_other_rates_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        Rate.parse(text)


def test_a_metric_has_one_rate():
    with pytest.raises(UsageError, match="one rate a metric"):
        parse_rates(["price=1/h", "price=1/kWh"])
