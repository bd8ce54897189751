import sys

import pytest
import torch
from torch import nn

from autoprune import registry
from autoprune.core.measurement import RunSpec
from autoprune.errors import DeviceError
from autoprune.profilers.torch import create
from autoprune.surgery.example import Example
from autoprune.testing.fakes import FakeClock
from autoprune.testing.profiler import ProfilerConformance

#: Compiling and lowering take seconds a model; OpenVINO takes the graphs that ONNX Runtime does.
SLOW = {"torch-compile", "executorch", "openvino"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in registry.names("profilers")],
    scope="class",
)
class TestEveryProfiler(ProfilerConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


class Sleeper(nn.Module):
    """Takes a known time by a clock that only it moves."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds, self.threads = clock, seconds, set()

    def forward(self, x):
        self.threads.add(torch.get_num_threads())
        self.clock.advance(self.seconds)
        return x


def test_known_durations_are_returned_exactly():
    clock = FakeClock()
    profiler = create(RunSpec(), clock)
    block = profiler.run_block(profiler.prepare(Sleeper(clock, 0.25), Example.of(torch.zeros(1))), 1.0, 2)
    assert block.wall_s == (0.25,) * 4


def test_threads_are_fixed_while_measuring_and_given_back():
    before, clock = torch.get_num_threads(), FakeClock()
    model = Sleeper(clock, 0.1)
    create(RunSpec(threads=1), clock).prepare(model, Example.of(torch.zeros(1)))
    assert model.threads == {1}
    assert torch.get_num_threads() == before


def test_a_model_in_half_precision_computes_in_it():
    seen = []

    class ObservationReader(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            seen.append(out.dtype)
            return out

    profiler = create(RunSpec(precision="bfloat16"), FakeClock())
    profiler.outputs(profiler.prepare(ObservationReader(4, 4), Example.of(torch.zeros(2, 4))))
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_missing_library_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"autoprune.profilers.{name}", raising=False)
    with pytest.raises(DeviceError, match=rf"pip install 'autoprune\[{name}\]'"):
        registry.load("profilers", name)


class Normalising(nn.Linear):
    """Changes its input, as many first layers do."""

    def forward(self, x):
        return super().forward(x.sub_(0.5).mul_(2.0))


def test_a_model_that_changes_its_inputs_is_run_on_what_was_given():
    inputs = torch.rand(2, 4)
    before, model, profiler = inputs.clone(), Normalising(4, 4).eval(), create(RunSpec(), FakeClock())
    handle = profiler.prepare(model, Example.of(inputs))
    expected = model(before.clone()).detach().numpy()
    assert profiler.outputs(handle)[0] == pytest.approx(expected)
    assert profiler.outputs(handle)[0] == pytest.approx(expected)
    assert torch.equal(inputs, before)
