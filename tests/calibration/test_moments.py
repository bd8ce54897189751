import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.calibration import activation_sampling as rows
from autoprune.calibration.batches import joined, pieces
from autoprune.calibration.moments import gather
from autoprune.surgery import trace
from autoprune.testing.criterion import attention_task, residual_task


def gathered(task, names):
    reading = trace(task.model, task.example_inputs).reading
    return gather(task, {name: reading[name] for name in names})


def inputs_of(task, name):
    """What enters a module over the calibration split, as (rows, size), by a hook."""
    seen = []
    module = task.model.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with torch.no_grad():
        for batch in task.split("calibration"):
            task.forward(task.model, batch)
    handle.remove()
    return torch.cat(seen)


def test_moments_of_a_linear_layer_are_those_of_its_inputs():
    task = attention_task()
    moments = gathered(task, {"block.linear2.weight"})["block.linear2.weight"]
    x = inputs_of(task, "block.linear2").flatten(0, 1)
    torch.testing.assert_close(moments.mean, x.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moments.covariance, torch.cov(x.T, correction=0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moments.square, x.square().mean(0), rtol=1e-5, atol=1e-6)
    assert moments.taps == 1
    assert moments.rows == len(x)


def test_moments_of_a_kernel_are_those_of_its_windows():
    task = residual_task()
    moments = gathered(task, {"inner.weight"})["inner.weight"]
    x = functional.unfold(inputs_of(task, "inner"), 3, padding=1).transpose(1, 2).flatten(0, 1)
    assert moments.taps == 9
    assert moments.rows < len(x)  # a sample of them
    torch.testing.assert_close(moments.mean, x.mean(0), rtol=0.2, atol=0.05)
    wanted = torch.cov(x.T, correction=0)
    error = torch.linalg.matrix_norm(moments.covariance - wanted) / torch.linalg.matrix_norm(wanted)
    assert error < 0.15


def test_wide_kernels_have_a_moment_a_channel(monkeypatch):
    monkeypatch.setattr(rows, "_UNFOLDED", 8)
    task = residual_task()
    moments = gathered(task, {"inner.weight"})["inner.weight"]
    assert moments.taps == 1
    assert moments.covariance.shape == (8, 8)
    x = inputs_of(task, "inner").movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(moments.mean, x.mean(0), rtol=0.2, atol=0.05)


def test_inputs_that_are_not_finite_are_left_out():
    task = residual_task()
    broken = [(inputs * float("nan"), labels) for inputs, labels in task.split("calibration")]
    task = task.with_split("calibration", broken)
    assert gathered(task, {"inner.weight", "head.weight"}) == {}


def test_the_model_is_left_as_it_was():
    task = attention_task()
    task.model.train()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    gathered(task, {"block.linear1.weight"})
    assert task.model.training
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())


@pytest.mark.parametrize(
    "make",
    [
        lambda n: (torch.arange(n), torch.arange(n)),
        lambda n: {"x": torch.arange(n), "labels": torch.arange(n)},
        torch.arange,
    ],
)
def test_batches_are_cut_and_joined(make):
    lengths = [
        len(next(iter(part.values())) if isinstance(part, dict) else part[0] if isinstance(part, tuple) else part)
        for part in pieces(make(7), 3)
    ]
    assert lengths == [3, 3, 1]
    whole = joined(iter([make(4), make(4), make(4)]), 10)
    tensors = list(whole.values()) if isinstance(whole, dict) else list(whole) if isinstance(whole, tuple) else [whole]
    assert all(tensor.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1] for tensor in tensors)


def test_batches_of_other_shapes_or_kinds_stay_apart():
    odd = object()
    assert list(pieces(odd, 3)) == [odd]
    assert joined([odd, odd], 10) is odd
    assert joined([torch.zeros(2, 5), torch.zeros(2, 6)], 10).shape == (2, 5)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.shared, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.first(x.mean(1)))
        return self.head(torch.relu(self.shared(torch.relu(self.shared(x)))))


def test_a_weight_of_two_layers_has_the_moments_of_both():
    base = attention_task()
    task = dataclasses.replace(base, model=Twice().double().eval())
    moments = gathered(task, {"shared.weight"})["shared.weight"]
    assert moments.rows == 240
    assert isinstance(task, autoprune.Task)


def test_a_small_spread_around_a_large_mean_is_not_lost():
    base = attention_task()
    shifted = [(inputs + 1000, labels) for inputs, labels in base.split("calibration")]
    task = base.with_split("calibration", shifted)
    found, wanted = (gathered(each, {"embed.weight"})["embed.weight"] for each in (task, base))
    torch.testing.assert_close(found.covariance, wanted.covariance, rtol=1e-3, atol=1e-3)


def test_a_stream_without_a_length_has_moments_too(small_task):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            for batch in small_task.split("calibration"):
                yield batch[0]

    loader = torch.utils.data.DataLoader(Stream(), batch_size=None)
    streaming = small_task.with_split("calibration", loader)
    names = [*trace(small_task.model, small_task.example_inputs).reading]
    assert gathered(streaming, names).keys() == gathered(small_task, names).keys()
