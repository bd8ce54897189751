"""Layers that are dropped whole."""

import pytest
import torch
from torch import nn

from autoprune.surgery import apply, trace


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.branch, self.scale = nn.LayerNorm(width), Branch(width), nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x + self.scale * self.branch(self.norm(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Linear(6, 16),
            nn.Sequential(*(Block(16) for _ in range(3))),
            nn.Linear(16, 4),
        )
        for number, block in enumerate(self.blocks):
            block.layer_idx = number

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net().eval()
    return model, torch.randn(5, 6)


def test_blocks_and_branches_are_offered_and_their_sequence_is_not(net):
    model, x = net
    layers = {group.name: group for group in trace(model, x) if group.kind == "layer"}
    assert set(layers) == {f"blocks.{k}" for k in range(3)} | {f"blocks.{k}.branch" for k in range(3)}
    assert all((group.size, group.floor, group.frozen_reason) == (1, 0, "") for group in layers.values())


def test_a_dropped_block_passes_its_input_on(net):
    model, x = net
    cut = apply(model, trace(model, x), {"blocks.1": torch.arange(0)})
    with torch.no_grad():
        expected = model.head(model.blocks[2](model.blocks[0](model.stem(x))))
    torch.testing.assert_close(cut(x), expected)
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in model.parameters())


def test_a_dropped_branch_adds_nothing(net):
    model, x = net
    cut = apply(model, trace(model, x), {"blocks.1.branch": torch.arange(0)})
    with torch.no_grad():
        expected = model.head(model.blocks[2](model.blocks[0](model.stem(x))))
    torch.testing.assert_close(cut(x), expected)


def test_layers_that_are_left_are_numbered_without_a_gap(net):
    model, x = net
    cut = apply(model, trace(model, x), {"blocks.0": torch.arange(0)})
    assert [block.layer_idx for block in list(cut.blocks)[1:]] == [0, 1]
    assert [block.layer_idx for block in model.blocks] == [0, 1, 2]


def test_slices_and_layers_are_cut_together(net):
    model, x = net
    traced = trace(model, x)
    widths = {g.name: torch.arange(g.size // 2) for g in traced.open if g.kind != "layer"}
    cut = apply(model, traced, {**widths, "blocks.2": torch.arange(0), "blocks.2.branch": torch.arange(0)})
    assert cut(x).shape == (5, 4)
    assert cut.blocks[0].norm.normalized_shape == (8,)


def test_a_module_without_a_residual_is_no_layer():
    model = nn.Sequential(nn.Linear(6, 8), Branch(8), nn.Linear(8, 3))
    assert not [group for group in trace(model, torch.randn(2, 6)) if group.kind == "layer"]
