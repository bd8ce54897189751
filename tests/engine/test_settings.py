"""Which devices a search measures on, and how each of them runs models."""

import pytest

from autoprune.api.devices import added
from autoprune.core.budget import Budget
from autoprune.engine.settings import Settings
from autoprune.errors import UsageError
from autoprune.options.search_options import SearchOptions


@pytest.fixture(autouse=True)
def known(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    added("pi", "http://127.0.0.1:7333", "onnxruntime", 4, "", "")
    added("server", "ssh://me@server", "", 0, "", "")


def setups(*limits, **settings):
    made = Settings.settled(SearchOptions(**settings))
    found = made.setups("tasks:made", Budget.parse(*limits).without(made.device).metrics)
    return {str(source): setup for source, setup in found.items()}


def test_devices_of_a_budget_run_as_they_were_added():
    found = setups("latency@pi=20ms", "latency@server=2ms", threads=2)
    assert list(found) == ["pi", "server"]
    assert (found["pi"].profiler, found["pi"].spec.threads) == ("onnxruntime", 4)
    assert (found["server"].profiler, found["server"].spec.threads) == ("torch", 2)
    assert found["server"].address.user == "me"
    assert {each.task for each in found.values()} == {"tasks:made"}


@pytest.mark.parametrize(
    ("limits", "device", "names"),
    [
        ((), "local", [""]),
        (("params=50%",), "local", [""]),
        (("latency@pi=20ms", "params=50%"), "local", ["pi"]),
        (("latency@pi=20ms", "latency=5ms"), "local", ["", "pi"]),
        (("latency@pi=20ms", "latency=5ms"), "server", ["", "pi"]),
        (("latency@local=5ms", "latency@pi=20ms"), "local", ["", "pi"]),
        (("latency=5ms", "latency.p99@local=9ms"), "local", [""]),
        (("latency=5ms", "latency.p99@pi=9ms"), "pi", [""]),
        (("latency=5ms", "latency@local=9ms"), "pi", ["", "local"]),
        (("recall@5>=0.9",), "local", [""]),
        (("decode=20ms",), "local", ["decode"]),
        (("tokens>=50/s", "prefill=1s", "kv_cache=50%"), "local", ["decode", "prefill"]),
        (("decode@pi=20ms", "memory=50%"), "local", ["", "decode@pi"]),
    ],
)
def test_the_device_without_a_name_is_there_where_somebody_asks_for_it(limits, device, names):
    assert list(setups(*limits, device=device)) == names


def test_peak_memory_is_measured_where_it_is_limited():
    found = setups("memory@pi=1MiB", "latency@server=2ms")
    assert found["pi"].memory
    assert not found["server"].memory
    assert not setups("memory=1MiB", "decode=2ms")["decode"].memory


def test_a_device_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(UsageError, match="known: pi, server"):
        setups("latency@tablet=2ms")
    with pytest.raises(UsageError, match="the one that measures"):
        setups("latency@local=2ms", "latency=1ms", device="node7")
    with pytest.raises(UsageError, match="leave out --device"):
        setups("latency@pi=2ms", device="server")


def test_what_one_device_was_added_with_is_no_other_ones():
    found = setups("latency=20ms", "latency@local=2ms", "latency@server=2ms", device="pi")
    assert (found[""].profiler, found[""].spec.threads) == ("onnxruntime", 4)
    assert {(each.profiler, each.spec.threads) for name, each in found.items() if name} == {("torch", 1)}
