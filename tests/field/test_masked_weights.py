"""Weights that a module makes of others when it runs: masks, norms and parametrisations that were left in place."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import autoprune

WIDTH, DEAD = 16, 8


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3))


def masked(layer, dead):
    """Large values where nothing comes through."""
    mask = torch.ones_like(layer.weight)
    mask[dead] = 0
    with torch.no_grad():
        layer.weight[dead] = 100.0
        layer.bias[dead] = 0.0
    prune.custom_from_mask(layer, "weight", mask)


def masked_in_turns(layer, dead):
    masked(layer, dead)
    prune.random_unstructured(layer, "weight", amount=1)


def scaled(layer, dead):
    with torch.no_grad():
        layer.bias[dead] = 0.0
    weight_norm(layer)
    with torch.no_grad():
        layer.weight_g[dead] = 1e-6
        layer.weight_v[dead] = 100.0


def scaled_anew(layer, dead):
    with torch.no_grad():
        layer.bias[dead] = 0.0
    parametrizations.weight_norm(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original0[dead] = 1e-6
        layer.parametrizations.weight.original1[dead] = 100.0


class Gate(nn.Module):
    """A learned mask."""

    def __init__(self, open_rows):
        super().__init__()
        self.logits = nn.Parameter(torch.where(open_rows, 20.0, -20.0)[:, None])

    def forward(self, weight):
        return weight * self.logits.sigmoid()


def gated(layer, dead):
    alive = torch.ones(WIDTH, dtype=torch.bool)
    alive[dead] = False
    with torch.no_grad():
        layer.weight[dead], layer.bias[dead] = 100.0, 0.0
    parametrize.register_parametrization(layer, "weight", Gate(alive))


class Turned(nn.Module):
    def forward(self, weight):
        return weight.T


def turned(layer, dead):
    """Kept the other way round: rows are columns of what is stored."""
    with torch.no_grad():
        layer.weight[dead], layer.bias[dead] = 0.0, 0.0
        layer.weight.copy_(layer.weight)
    stored = layer.weight.detach().clone()
    layer.weight = nn.Parameter(stored.T.contiguous())
    parametrize.register_parametrization(layer, "weight", Turned(), unsafe=True)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize(
    ("left", "criterion"),
    [
        (left, criterion)
        for left in (masked, masked_in_turns, scaled, scaled_anew, gated, turned)
        for criterion in ("l1", "l2", "lamp", "geometric-median")
        # Rows of next to nothing are many, and near each other: that criterion rightly keeps some.
        if not (criterion == "geometric-median" and left in (scaled, scaled_anew))
    ],
)
def test_what_is_dead_goes_first(left, criterion):
    model, x = net().eval(), torch.randn(5, 8)
    dead = torch.arange(WIDTH)[::2]
    with torch.no_grad():
        model[2].weight[:, dead] = 0.01
    left(model[0], dead)
    pruned = autoprune.prune(model, x, {name_of(model, x): DEAD}, criterion=criterion)
    (kept,) = pruned.slices.values()
    assert set(kept) == set(range(WIDTH)) - set(dead.tolist())
    assert torch.allclose(pruned.model(x), model(x), atol=1e-3 if left in (scaled, scaled_anew) else 1e-5)


def name_of(model, x):
    (name,) = (group.name for group in autoprune.trace(model, x).open if group.kind != "layer")
    return name


def test_ranking_leaves_the_model_as_it_is():
    model, x = nn.Sequential(spectral_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 3)), torch.randn(5, 8)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = autoprune.prune(model, x, 0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert pruned.model[0].out_features == 8
