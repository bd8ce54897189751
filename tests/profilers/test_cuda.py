import pytest
import torch
from torch import nn

from autoprune.core.measurement import RunSpec
from autoprune.errors import DeviceError
from autoprune.profilers.cuda import CudaProfiler
from autoprune.surgery.example import Example
from autoprune.testing.fakes import FakeClock, FakeCuda


def opened(**options):
    cuda = FakeCuda(0.002, **options)
    profiler = CudaProfiler(RunSpec(), FakeClock(), cuda, "cpu")
    return cuda, profiler


def test_durations_are_the_cards_own_and_the_processor_waits_seldom():
    cuda, profiler = opened()
    handle = profiler.prepare(nn.Linear(4, 4), Example.of(torch.zeros(2, 4)))
    waited = cuda.waits
    block = profiler.run_block(handle, 0.02, 3)
    assert block.wall_s == pytest.approx((0.002,) * 16)
    assert cuda.replays == 16
    assert cuda.waits - waited == 2
    assert len(profiler.run_block(handle, 0.0, 3).wall_s) == 3


def test_what_cannot_be_captured_is_called():
    cuda, profiler = opened(capturable=False)
    model = nn.Linear(4, 4)
    handle = profiler.prepare(model, Example.of(torch.ones(2, 4)))
    (out,) = profiler.outputs(handle)
    assert cuda.replays == 0
    assert out == pytest.approx(model(torch.ones(2, 4)).detach().numpy())


def test_the_users_model_stays_where_it_is():
    _, profiler = opened()
    model = nn.Linear(4, 4).train()
    profiler.prepare(model, Example.of(torch.zeros(2, 4)))
    assert model.training


def test_no_card_is_said():
    with pytest.raises(DeviceError, match="NVIDIA"):
        opened(available=False)


def test_a_model_that_does_not_run_there_is_refused():
    _, profiler = opened()
    with pytest.raises(DeviceError, match="NVIDIA"):
        profiler.prepare(nn.Linear(4, 4), Example.of(torch.zeros(2, 5)))
