"""Slices multiplied by numbers: at ones and zeros a model does what the one does that is cut."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from autoprune.core.plan import Plan
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.example import Example
from autoprune.surgery.gated import gated
from autoprune.surgery.sparsity import masks, with_weights


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wide, self.narrow = nn.Linear(width, 12), nn.Linear(12, width)

    def forward(self, x):
        return x + self.narrow(torch.relu(self.wide(x)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), Block(8), Block(8), nn.Linear(8, 3)).eval()


def numbers(traced, slices):
    """Of every group that may be cut, ones for what is kept."""
    return {
        group.name: torch.zeros(group.size).index_fill(0, slices[group.name], 1.0)
        if group.name in slices
        else torch.ones(group.size)
        for group in traced.open
    }


@pytest.mark.parametrize("kept", [{"channel": 0.5, "layer": 1}, {"channel": 0.5, "layer": 0}])
def test_ones_and_zeros_are_a_cut(model, kept):
    x = torch.randn(5, 6)
    traced = trace(model, Example.of(x))
    plan = Plan.of({g.name: kept["layer"] if g.kind == "layer" else g.size // 2 for g in traced.open})
    assert {"layer"} < {group.kind for group in traced.open}
    ranking = {group.name: torch.rand(group.size) for group in traced.open}
    slices = kept_slices(traced, ranking, plan)
    products = gated(model, traced, numbers(traced, slices))
    assert torch.allclose(functional_call(model, products, x), apply(model, traced, slices)(x), atol=1e-6)


def test_gradients_flow_back_to_the_numbers(model):
    x = torch.randn(5, 6)
    traced = trace(model, Example.of(x))
    open_ = {name: each.requires_grad_() for name, each in numbers(traced, {}).items()}
    functional_call(model, gated(model, traced, open_), x).square().sum().backward()
    assert all(bool(each.grad.any()) for each in open_.values())


def test_single_weights_are_gated_one_by_one(model):
    x = torch.randn(5, 6)
    traced = with_weights(model, trace(model, Example.of(x)), "unstructured")
    group = next(group for group in traced.open if group.kind == "weight")
    ranking = {group.name: torch.rand(group.size)}
    mask = masks(traced, ranking, Plan.of({group.name: group.size // 2}), {})[group.members[0].tensor]
    products = gated(model, traced, {group.name: mask.flatten().float()})
    assert torch.equal(products[group.members[0].tensor] != 0, mask)
