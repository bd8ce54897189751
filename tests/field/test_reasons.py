"""Why a model cannot be cut, as it is said."""

import warnings

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import SurgeryError


class Mostly(nn.Module):
    """Many small layers that no input reaches, and one large table that is looked up."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5000, 8)
        self.spare = nn.ModuleList(nn.Linear(2, 2) for _ in range(9))

    def forward(self, x):
        return self.table(x)


def test_the_reason_with_most_parameters_is_named_not_that_of_most_groups():
    model, x = Mostly().eval(), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(SurgeryError) as caught:
        autoprune.prune(model, x, 0.5)
    assert "not used" not in caught.value.received
    assert "not used" not in autoprune.trace(model, x).summary().splitlines()[1]


def dynamic(model):
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def static(model):
    ao = torch.ao.quantization
    model = nn.Sequential(ao.QuantStub(), model, ao.DeQuantStub()).eval()
    model.qconfig = ao.get_default_qconfig("x86")
    ao.prepare(model, inplace=True)
    model(torch.randn(4, 8))
    return ao.convert(model, inplace=True)


class Bytes(torch.Tensor):
    """A weight that is kept in bytes with a scale, as libraries for quantisation do."""

    def __new__(cls, values, scale):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=scale.dtype)

    def __init__(self, values, scale):
        self.values, self.scale = values, scale

    def __tensor_flatten__(self):
        return ["values", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inside, _, size, stride):
        return Bytes(inside["values"], inside["scale"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return Bytes(args[0].values, args[0].scale)
        plain = [each.values * each.scale if isinstance(each, Bytes) else each for each in args]
        return func(*plain, **(kwargs or {}))


def in_bytes(model):
    for layer in model:
        if isinstance(layer, nn.Linear):
            scale = layer.weight.detach().abs().max() / 127
            values = (layer.weight.detach() / scale).round().to(torch.int8)
            layer.weight = nn.Parameter(Bytes(values, scale), requires_grad=False)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("quantise", [dynamic, static, in_bytes])
def test_quantised_weights_are_named_as_such(quantise):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = quantise(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16)).eval())
    x = torch.randn(4, 8)
    assert model(x).shape == (4, 16)
    with pytest.raises(SurgeryError, match="its weights are quantised: prune before"):
        autoprune.prune(model, x, 0.5)
    summary = autoprune.trace(model, x).summary()
    assert "quantise what is left" in summary
    assert "not used" not in summary
    assert "do not reach" not in summary
