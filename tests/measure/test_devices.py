"""Several devices as one, with devices that answer from a table."""

from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
from torch import nn

from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import Capabilities, Measurement, RunSpec
from autoprune.core.metric import Source
from autoprune.errors import CrashedError
from autoprune.measure.devices import Devices, several, together
from autoprune.measure.setup import Setup
from autoprune.surgery.cut_model import CutModel

HERE, PI, SERVER, DECODING = Source(), Source("pi"), Source("server"), Source(work="decode")
SETUPS = {
    PI: Setup("onnxruntime", RunSpec(threads=4)),
    SERVER: Setup("torch", RunSpec()),
    HERE: Setup("torch", RunSpec()),
    DECODING: Setup("torch", RunSpec(work="decode")),
}


@dataclass
class Table:
    """Says that any model takes the same time; keeps what it was asked."""

    seconds: float
    fingerprint: str = "a board"
    sparsity: tuple[str, ...] = ()
    asked: list = field(default_factory=list)
    batch: int = 1
    example: None = None

    @property
    def capabilities(self):
        return Capabilities(metrics=("latency", "throughput"), sparsity=self.sparsity)

    def _found(self, factor=1.0):
        value = factor * self.seconds
        return {
            "latency": Measurement.exact("latency", value, "s"),
            "latency.relative": Measurement.exact("latency.relative", factor, "1"),
        }

    def open(self):
        return self._found()

    def reference(self):
        return self._found()

    def measure(self, cut, bounds, ceilings):
        self.asked.append({**bounds, **ceilings})
        return self._found(0.5)

    def measure_again(self, models, advance):
        advance("")
        return [self._found(0.25) for _ in models]

    def restated(self, measured):
        self.asked.append([sorted(each) for each in measured])
        return [{**each, "latency": Measurement.exact("latency", 2 * each["latency"].value, "s")} for each in measured]

    def costs(self, space, metrics, dense, seed):
        self.asked.append((list(metrics), dense["latency"]))
        return tuple(CostForecast(metric, self.seconds, ()) for metric in metrics)

    def computing(self):
        return nullcontext()

    def close(self):
        self.asked.append("closed")


@pytest.fixture
def pi():
    return Table(0.040, sparsity=("2:4", "unstructured"))


@pytest.fixture
def server():
    return Table(0.004, "a server", sparsity=("2:4",))


@pytest.fixture
def both(pi, server):
    return several({PI: pi, SERVER: server}, SETUPS)


def test_every_number_says_of_which_device_it_is(both):
    assert {key: found.value for key, found in both.open().items()} == {
        "latency@pi": 0.040, "latency.relative@pi": 1.0, "latency@server": 0.004, "latency.relative@server": 1.0,
    }  # fmt: skip
    found = both.measure(CutModel(nn.Identity()), {})
    assert found["latency@server"].value == 0.002
    assert all(key == each.metric for key, each in found.items())
    (again,) = both.measure_again([CutModel(nn.Identity())], lambda text: None)
    assert again["latency@pi"].value == 0.010


def test_each_device_is_told_its_own_limits(both, pi, server):
    both.measure(
        CutModel(nn.Identity()), {"latency@pi": 0.02, "latency.p99@pi": 0.03, "latency@server": 0.002, "params": 9}
    )
    assert pi.asked == [{"latency": 0.02, "latency.p99": 0.03}]
    assert server.asked == [{"latency": 0.002}]


def test_costs_are_foretold_by_each_and_counted_once(both, pi, server):
    found = both.costs(None, ["latency@pi", "params", "latency@server"], {"latency@pi": 4.0, "latency@server": 5.0}, 0)
    assert [(each.metric, each.offset) for each in found] == [
        ("latency@pi", 0.040), ("params", 0.040), ("latency@server", 0.004),
    ]  # fmt: skip
    assert pi.asked == [(["latency", "params"], 4.0)]
    assert server.asked == [(["latency"], 5.0)]


def test_measurements_are_restated_by_their_own_device(both, pi):
    score = Measurement.exact("accuracy", 0.9, "1")
    (found,) = both.restated([{**both.measure(CutModel(nn.Identity()), {}), "accuracy": score}])
    assert found["accuracy"] == score
    assert found["latency@pi"].value == 0.040
    assert found["latency@server"].value == 0.004
    assert pi.asked[-1] == [["latency", "latency.relative"]]


def test_a_device_without_a_name_keeps_its_keys_beside_one_that_has_one(pi, server):
    assert several({HERE: pi}, SETUPS) is pi
    found = Devices({HERE: pi, SERVER: server}, SETUPS).open()
    assert set(found) == {"latency", "latency.relative", "latency@server", "latency.relative@server"}


def test_what_only_decodes_says_how_long_a_token_takes(pi, server):
    both = several({HERE: pi, DECODING: server}, SETUPS)
    assert set(both.open()) == {"latency", "latency.relative", "decode", "decode.relative"}
    assert both.capabilities.metrics == ("latency", "throughput", "decode", "tokens")
    both.measure(CutModel(nn.Identity()), {"decode.p99": 0.02, "latency": 0.03, "tokens": 50.0})
    assert server.asked == [{"latency.p99": 0.02, "throughput": 50.0}]
    assert pi.asked == [{"latency": 0.03}]
    found = both.costs(None, ["decode", "kv_cache"], {"decode": 4.0, "latency": 5.0}, 0)
    assert [each.metric for each in found] == ["kv_cache", "decode"]
    assert several({DECODING: server}, SETUPS).open().keys() == {"decode", "decode.relative"}


def test_together_they_skip_the_zeros_that_all_of_them_skip(both):
    assert both.capabilities.sparsity == ("2:4",)
    assert both.capabilities.metrics == ("latency@pi", "throughput@pi", "latency@server", "throughput@server")
    assert together({HERE: Capabilities(("latency",))}) == Capabilities(("latency",))


def test_what_they_are_is_told_with_how_they_run(both):
    assert both.fingerprint == ("pi: onnxruntime on 4 threads of a board; server: torch on 1 threads of a server")


def test_all_are_closed_whatever_one_of_them_does(pi, server):
    def broken():
        raise CrashedError(expected="an end", received="none", cure="none")

    pi.close = broken
    with pytest.raises(CrashedError):
        several({PI: pi, SERVER: server}, SETUPS).close()
    assert server.asked == ["closed"]
