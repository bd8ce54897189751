import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune import AtLeast, AtMost, Budget
from autoprune.core.limit import Limit, parse_limit
from autoprune.core.quantity import UNITS
from autoprune.errors import UsageError


@pytest.mark.parametrize(
    ("text", "metric", "statistic", "relation", "value", "basis"),
    [
        ("latency=5ms", "latency", "", "<=", 0.005, "absolute"),
        ("latency.p99<=8ms", "latency", "p99", "<=", 0.008, "absolute"),
        ("latency=50%", "latency", "", "<=", 0.5, "share"),
        ("params=1M", "params", "", "<=", 1e6, "absolute"),
        ("flops=2G", "flops", "", "<=", 2e9, "absolute"),
        ("size=4MiB", "size", "", "<=", 4 * 2**20, "absolute"),
        ("memory=512MB", "memory", "", "<=", 512e6, "absolute"),
        ("energy=3mJ", "energy", "", "<=", 0.003, "absolute"),
        ("throughput>=200/s", "throughput", "", ">=", 200, "absolute"),
        ("accuracy>=0.97", "accuracy", "", ">=", 0.97, "absolute"),
        ("accuracy>=-1%", "accuracy", "", ">=", -0.01, "points"),
        ("accuracy>=dense-1%", "accuracy", "", ">=", -0.01, "points"),
        ("error<=+1%", "error", "", "<=", 0.01, "points"),
        ("psnr>=99%", "psnr", "", ">=", 0.99, "share"),
        ("rmse<=105%", "rmse", "", "<=", 1.05, "share"),
        ("loss<=+0.1", "loss", "", "<=", 0.1, "distance"),
        ("loss<=dense+0.1", "loss", "", "<=", 0.1, "distance"),
        ("bleu>=dense-0.5", "bleu", "", ">=", -0.5, "distance"),
        ("bleu>=-0.5", "bleu", "", ">=", -0.5, "absolute"),
        ("f1.macro>=-1%", "f1.macro", "", ">=", -0.01, "points"),
        ("mAP50-95>=98%", "mAP50-95", "", ">=", 0.98, "share"),
        ("latency <= 0.01us", "latency", "", "<=", 1e-8, "absolute"),
        ("latency@pi=20ms", "latency@pi", "", "<=", 0.02, "absolute"),
        ("latency.p99@board-4.2<=30%", "latency@board-4.2", "p99", "<=", 0.3, "share"),
        ("throughput@pi>=9/s", "throughput@pi", "", ">=", 9, "absolute"),
        ("recall@5>=0.9", "recall@5", "", ">=", 0.9, "absolute"),
    ],
)
def test_every_form_is_read(text, metric, statistic, relation, value, basis):
    limit = parse_limit(text)
    assert (limit.metric, limit.statistic, limit.relation, limit.basis) == (metric, statistic, relation, basis)
    assert math.isclose(limit.value, value)


@pytest.mark.parametrize(
    "text",
    [
        "latency=5mss", "latency=5m", "latency=5ms;", "latency=nan ms", "latency=nanms", "latency=1e400ms", "latency=inf",
        "latency=0ms", "latency=-5ms", "latency=0%", "latency=101%", "latency=5", "latency=5 ms 3", "latency==5ms",
        "latency=5MS", "params=300m", "size=4M", "accuracy=0.9", "accuracy>=+97%", "accuracy>=-100%", "accuracy>=+0.97", "loss<=dense-0.1", "loss<=0%", "bleu>=dense0.5", "bleu>=dense", "latency<=dense-1ms", "accuracy>=1%",
        "accuracy<=-1%", "throughput<=10/s", "throughput>=50%", "latency>=5ms", "latency.p50.p99=5ms", "latency.p42=5ms",
        "params.p99=3", "latencyy=5ms", "", "=", "5ms", "latency", "latency=", "latency=５ms", "latency=5ms\nparams=1",
        "latency=0x5ms", "params@pi=1M", "latency@=5ms", "latency@pi@pi=5ms", "@pi=5ms", "latency@pi=5", "latency=1_000ms", "latency=--5ms", "latency=5e", "energy=5W",
    ],
)  # fmt: skip
def test_malformed_limits_are_refused_in_one_line(text):
    with pytest.raises(UsageError) as refused:
        Budget.parse(text)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("accuracy", "in quotes where there is a < or >"),  # what a shell leaves of accuracy>=-1%
        ("latency<5ms", "METRIC<=VALUE"),
        ("params=50%,flops=50%", "each limit by itself: --budget"),
        ("accuracy>=0,97", "a point for decimals"),
        ("params=0.5", "params=50% for that share"),
        ("flops=0.25", "flops=25% for that share"),
        ("size=0.5B", "size of at least 1"),
    ],
)
def test_what_a_newcomer_writes_is_refused_with_what_he_means(text, cure):
    with pytest.raises(UsageError, match=cure):
        Budget.parse(text)


def test_a_near_unit_or_metric_is_suggested():
    with pytest.raises(UsageError, match="did you mean 'latency'"):
        parse_limit("lat=5ms")
    with pytest.raises(UsageError, match="did you mean 'ms'"):
        parse_limit("latency=5mss")
    with pytest.raises(UsageError, match="did you mean 'latency'"):
        parse_limit("latencyy=5ms")


NUMBER = r"[+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
ALLOWED = {
    "latency": [unit for unit in UNITS["s"]],
    "params": list(UNITS["1"]),
    "size": list(UNITS["B"]),
    "energy": list(UNITS["J"]),
}


@given(st.text(max_size=24))
def test_no_random_text_after_a_metric_is_accepted_unless_it_has_the_form(amount):
    """An oracle of its own: whatever is accepted is a number and exactly one of the metric's units or `%`."""
    import re

    for metric, units in ALLOWED.items():
        try:
            limit = parse_limit(f"{metric}={amount}")
        except UsageError:
            continue
        form = "|".join(sorted(map(re.escape, [*units, "%"]), key=len, reverse=True))
        assert re.fullmatch(rf"(?:<=|=)?\s*{NUMBER}(?:{form})", f"={amount}".strip().removeprefix("="), re.ASCII), (
            amount
        )
        assert 0 < limit.value < math.inf


@given(st.sampled_from(["latency", "params", "size", "energy"]), st.text(min_size=1, max_size=6), st.integers(1, 999))
def test_nothing_may_follow_a_well_formed_limit(metric, tail, number):
    unit = {"latency": "ms", "params": "M", "size": "MiB", "energy": "mJ"}[metric]
    if tail.strip():
        with pytest.raises(UsageError):
            parse_limit(f"{metric}={number}{unit}{tail}x")


@given(st.floats(1e-9, 1e3))
def test_writing_and_reading_a_limit_keeps_its_meaning(seconds):
    written = str(Budget.of(latency=AtMost(seconds)).limits[0])
    assert math.isclose(parse_limit(written).value, seconds, rel_tol=1e-3)


def test_objects_and_text_mean_the_same():
    objects = Budget.of(latency=AtMost(0.005), latency__p99=AtMost(0.008), accuracy=AtLeast(-0.01, of_dense=True))
    assert objects == Budget.parse("latency<=5ms", "latency.p99<=8ms", "accuracy>=dense-0.01")
    assert Budget.of(psnr=AtLeast(0.99, of_dense=True)) == Budget.parse("psnr>=99%")
    assert Budget.of(latency=AtMost(0.5, of_dense=True)) == Budget.parse("latency=50%")
    assert Budget.of(**{"latency__p99@pi": AtMost(0.008)}) == Budget.parse("latency.p99@pi<=8ms")


def test_minimised_quality_is_limited_by_a_share_of_dense():
    (limit,) = Budget.parse("rmse<=105%").limits
    assert limit == Budget.of(rmse=AtMost(1.05, of_dense=True)).limits[0]
    assert limit.meaning() == "rmse at most 105 % of the dense model's"
    assert (limit.met_by(0.209, 0.2), limit.met_by(0.211, 0.2)) == (True, False)
    assert parse_limit(str(limit)) == limit
    with pytest.raises(UsageError, match="rmse<=105%"):
        parse_limit("rmse<=-1%")


@pytest.mark.parametrize(
    ("text", "received", "cure"),
    [
        ("accuracy>=1%", "accuracy>=1%", "accuracy>=99%"),
        ("accuracy>=+0.97", "accuracy>=dense+0.97", "accuracy>=0.97 for the number"),
        ("params=150%", "params<=150%", "between 0% and 100%"),
        ("rmse=0.1", "rmse=0.1", "rmse<=0.1"),
    ],
)
def test_what_was_received_is_told_as_it_was_written(text, received, cure):
    with pytest.raises(UsageError) as raised:
        parse_limit(text)
    assert received in raised.value.received
    assert cure in raised.value.cure
    assert "did you mean" not in raised.value.cure


def test_a_device_may_be_the_one_that_needs_no_name():
    budget = Budget.parse("latency@pi=20ms", "latency@local=2ms", "recall@local>=0.9", objectives=["latency@local"])
    assert [limit.key for limit in budget.without("local").limits] == ["latency@pi", "latency", "recall@local"]
    assert budget.without("local").objectives == ("latency",)
    with pytest.raises(UsageError, match="one limit on latency"):
        Budget.parse("latency=20ms", "latency@local=2ms").without("local")
    with pytest.raises(UsageError, match="the same on all"):
        Budget.parse(objectives=["params@pi"])


def test_each_device_has_limits_of_its_own():
    budget = Budget.parse("latency@pi=20ms", "latency@server=2ms", "latency.p99@pi=30ms", "params=1M")
    assert [limit.key for limit in budget.limits] == ["latency@pi", "latency@server", "latency.p99@pi", "params"]
    assert budget.chosen("accuracy") == ("accuracy", "latency@pi", "latency@server", "params")
    assert budget.limits[2].meaning() == "p99 latency on pi at most 30 ms"


@pytest.mark.parametrize(
    "limits", [("latency=5ms", "latency=5ms"), ("latency=5ms", "latency<=50%"), ("params=1M", "params=2M")]
)
def test_two_limits_on_one_thing_are_refused(limits):
    with pytest.raises(UsageError, match="one limit on"):
        Budget.parse(*limits)


def test_bounds_and_excesses_against_dense():
    share, quality = Budget.parse("latency=50%", "accuracy>=-1%").limits
    assert share.bound(0.02) == pytest.approx(0.01)
    assert quality.bound(0.98) == pytest.approx(0.97)
    assert share.excess(0.008, 0.0099, 0.02) < 0 < share.excess(0.008, 0.011, 0.02)
    assert quality.excess(0.975, 0.99, 0.98) < 0 < quality.excess(0.965, 0.99, 0.98)


def test_meanings_are_words_with_units():
    meanings = [
        limit.meaning() for limit in Budget.parse("latency=5ms", "params=1M", "accuracy>=-1%", "latency.p99=60%").limits
    ]
    assert meanings == [
        "median latency at most 5 ms",
        "params at most 1M",
        "accuracy at most 1 points below the dense model's",
        "p99 latency at most 60 % of the dense model's",
    ]


@given(
    st.floats(1e-7, 1e9),
    st.sampled_from(["latency", "params", "size", "throughput", "energy", "perplexity", "latency@pi", "recall@5"]),
)
def test_every_limit_is_read_back_as_it_was_from_its_text(value, metric):
    value = max(value, 1.0) if metric in ("params", "size") else value  # there is no half of a parameter
    relation = ">=" if metric == "throughput" else "<="
    limit = Limit(metric, relation, value, "absolute", "")
    assert parse_limit(str(limit)) == limit


@given(st.floats(0.001, 1.0))
def test_every_share_is_read_back_as_it_was(value):
    for limit in (Limit("latency", "<=", value, "share", "p99"), Limit("accuracy", ">=", -value / 2, "points")):
        assert parse_limit(str(limit)).value == pytest.approx(limit.value, rel=1e-15)


@given(st.floats(0, 1e6), st.sampled_from(["<=", ">="]))
def test_every_distance_is_read_back_as_it_was(value, relation):
    limit = Limit("loss", relation, value if relation == "<=" else -value, "distance")
    assert parse_limit(str(limit)) == limit


def test_a_share_of_what_is_below_zero_is_refused():
    assert parse_limit("nll<=105%").bound(2.0) == pytest.approx(2.1)
    with pytest.raises(UsageError, match="nll<=-1.9"):
        parse_limit("nll<=105%").bound(-2.0)


def test_a_guarantee_for_slow_hours_is_a_limit_on_their_latency():
    budget = Budget.parse("latency=5ms", "latency@pi=20ms", "params=1M").guaranteed("worst")
    assert [limit.key for limit in budget.limits] == ["latency.worst", "latency.worst@pi", "params"]
    assert budget.limits[0].meaning() == "latency in the device's slow hours at most 5 ms"
    assert Budget.parse("latency.worst<=5ms").limits[0] == budget.limits[0]


@pytest.mark.parametrize("kept", ["latency=50%", "latency.p99<=8ms", "throughput>=200/s"])
def test_a_guarantee_leaves_shares_and_statistics_be(kept):
    budget = Budget.parse(kept)
    assert budget.guaranteed("worst") == budget
    assert budget.guaranteed("quiet") == budget


def test_another_guarantee_is_refused():
    with pytest.raises(UsageError, match="known: quiet, worst"):
        Budget.parse("latency=5ms").guaranteed("best")
