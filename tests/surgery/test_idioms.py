"""What people write: sizes that are checked, operators that few use, and what an example does not reach."""

import pytest
import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, get_default_qat_qconfig, prepare_qat
from torch.nn import functional

import autoprune


def opened(model, *inputs):
    """Steps of the open groups, but for whole layers, once what is cut has run in both modes."""
    groups = {g.name: g for g in autoprune.trace(model.eval(), inputs).open if g.kind != "layer"}
    if groups:
        cut = autoprune.prune(model, inputs, {g.name: g.size // 2 for g in groups.values()}).model
        cut(*inputs)
        cut.train()(*inputs)
    return {name: group.step for name, group in groups.items()}


class Between(nn.Module):
    """Two layers and a function of what lies between them."""

    def __init__(self, function, width=16, left=None):
        super().__init__()
        self.stem, self.head, self.function = nn.Linear(6, width), nn.Linear(left or width, 3), function

    def forward(self, x):
        return self.head(self.function(self.stem(x)))


def even(h):
    if h.shape[-1] % 2:
        raise ValueError("odd")
    return h


def by_four(h):
    assert h.shape[-1] % 4 == 0
    return h


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize(
    ("function", "step"),
    [
        (even, 2),
        (by_four, 4),
        (nn.RReLU(), 1),
        (lambda h: torch.fft.irfft(torch.fft.rfft(h, dim=1) * torch.fft.rfft(h, dim=1).conj(), n=5, dim=1), 1),
        (lambda h: torch.distributions.Normal(h, h.exp()).mean, 1),
        (lambda h: torch.zeros_like(h).scatter_reduce(1, torch.zeros_like(h, dtype=torch.long), h, "amax"), 1),
        (lambda h: torch.zeros_like(h).index_reduce(1, torch.arange(5), h, "amax"), 1),
        (lambda h: torch.bucketize(h, torch.linspace(-1, 1, 4)).float(), 1),
    ],
    ids=["even", "by four", "rrelu", "conjugate", "distribution", "scatter", "index", "bucketize"],
)
def test_what_keeps_a_width_free_leaves_it_open(function, step):
    assert opened(Between(function), torch.randn(2, 5, 6)) == {"stem": step}


def test_three_equal_parts_are_cut_alike_however_they_are_taken_apart():
    def mixed(h):
        q, k, v = h.tensor_split(3, -1)
        return q * k + v

    assert opened(Between(mixed, 48, 16), torch.randn(2, 6)) == {"stem": 1}
    given = Between(lambda h: h.tensor_split((16, 32), -1)[0], 48, 16).eval()
    cut = autoprune.prune(given, torch.randn(2, 6), 0.5).model  # what lies behind the last place may have any size
    assert cut.stem.out_features == 16 + 16 + 8


@pytest.mark.parametrize(("width", "heads"), [(64, 8), (16, 4), (64, 4)])
def test_as_many_heads_as_dimensions_freeze_no_more_than_others(width, heads):
    layer = nn.TransformerEncoderLayer(width, heads, 32, batch_first=True)
    model = nn.Sequential(nn.Linear(6, width), nn.TransformerEncoder(layer, 1), nn.Linear(width, 3))
    assert {"0", "1.layers.0.linear1"} < opened(model, torch.randn(2, 5, 6)).keys()


def test_layers_that_their_surroundings_look_into_are_not_dropped():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
    model, x = nn.Sequential(nn.Linear(16, 16), encoder, nn.Linear(16, 3)).eval(), torch.randn(2, 5, 16)
    layers = [group.name for group in autoprune.trace(model, x).open if group.kind == "layer"]
    assert layers
    for name in layers:
        assert autoprune.prune(model, x, {name: 0}).model(x).shape == (2, 5, 3)


@pytest.mark.filterwarnings("ignore")  # torch's own package for this is deprecated, and in use
@pytest.mark.parametrize("backend", ["fbgemm", "x86"])
def test_models_that_are_prepared_for_quantisation_are_cut(backend):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(1), nn.Linear(128, 3))
    model.qconfig, x = get_default_qat_qconfig(backend), torch.randn(2, 3, 8, 8)
    prepare_qat(model.train(), inplace=True)(x)
    assert opened(model, x).keys() == {"0", "2"}
    assert opened(nn.Sequential(nn.Linear(6, 16), FakeQuantize(), nn.Linear(16, 3)), torch.randn(4, 6)) == {"0": 1}


class Routed(nn.Module):
    """Experts that see what is sent to them, if anything is."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 12), nn.Linear(12, 3)
        self.experts = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))

    def forward(self, x, expert):
        return self.head(functional.relu(self.experts[expert](self.stem(x))))


def test_what_the_example_does_not_reach_is_told():
    traced = autoprune.trace(Routed().eval(), (torch.randn(2, 6), 1))
    (note,) = traced.notes
    assert "2 modules (experts.0, experts.2)" in note
    assert not autoprune.trace(nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)), torch.randn(2, 6)).notes
