"""A model with dropped layers is carried elsewhere as any other, called in all of its ways, and its layers are gone."""

import importlib
import subprocess
import sys

import pytest
import torch
from torch import nn

import autoprune

NET = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width, self.up, self.down = width, nn.Linear(width, 12), nn.Linear(12, width)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Linear(4, 8), nn.Sequential(Block(8), Block(8))
        self.branch, self.head = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8)), nn.Linear(8, 3)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        return self.head(x + self.branch(x))
"""
ALONE = """
import sys, torch
sys.modules["autoprune"] = None
model, inputs, expected = torch.load(sys.argv[1], weights_only=False)
assert torch.equal(model(inputs), expected)
assert torch.equal(torch.jit.script(model)(inputs), expected)
"""


@pytest.mark.slow
def test_it_needs_no_autoprune_to_be_loaded_and_scripted(tmp_path, monkeypatch):
    (tmp_path / "residual_net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    residual_net = importlib.import_module("residual_net")
    model, inputs = residual_net.Net().eval(), torch.randn(5, 4)
    pruned = autoprune.prune(model, inputs, {"blocks.0": 0, "branch": 0})
    with torch.no_grad():
        expected = model.head(model.blocks[1](model.stem(inputs)))
        torch.testing.assert_close(pruned.model(inputs), expected)
        torch.save((pruned.model, inputs, pruned.model(inputs)), tmp_path / "model.pt")
    assert pruned.model.blocks[0].width == 8
    subprocess.run([sys.executable, "-c", ALONE, "model.pt"], cwd=tmp_path, check=True)


class Residual(nn.Module):
    def __init__(self, number=0):
        super().__init__()
        self.up, self.down, self.layer_idx = nn.Linear(8, 12), nn.Linear(12, 8), number

    def forward(self, x, mask=None):
        x = x + self.down(self.up(x).relu())
        return x if mask is None else x * mask


class Stack(nn.Module):
    """`called` is how a layer is called."""

    def __init__(self, numbers=(0, 1, 2), called=lambda layer, x: layer(x)):
        super().__init__()
        self.called = called
        self.stem, self.layers, self.head = nn.Linear(4, 8), nn.ModuleList(map(Residual, numbers)), nn.Linear(8, 3)

    def forward(self, x, mask=None):
        x = self.stem(x)
        for layer in self.layers:
            x = self.called(layer, x) if mask is None else layer(x, mask)
        return self.head(x)


def test_a_layer_that_was_wrapped_in_place_is_gone():
    model, x = Stack().eval(), torch.randn(5, 4)
    layer = model.layers[1]
    layer._old_forward = layer.forward
    layer.forward = lambda x: layer._old_forward(x)  # noqa: PLW0108 - as hooks put one in its place
    cut = autoprune.prune(model, x, {"layers.1": 0}).model
    expected = model.head(model.layers[2](model.layers[0](model.stem(x))))
    torch.testing.assert_close(cut(x), expected)


def test_a_dropped_layer_takes_what_the_example_did_not_have():
    model, x = Stack().eval(), torch.randn(5, 4)
    cut = autoprune.prune(model, x, {"layers.1": 0}).model
    mask = torch.rand(5, 8)
    expected = model.head(model.layers[2](model.layers[0](model.stem(x), mask), mask))
    torch.testing.assert_close(cut(x, mask), expected)


class Pair(nn.Module):
    """Two stacks, one after the other."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = Stack(first), Stack(second)
        self.first.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [((0, 1, 2), (0, 1, 2), [0, 1, 2, 0, 1]), ((0, 1), (2, 3), [0, 1, 2]), ((0, 2), (1, 3), [0, 1, 2])],
    ids=["two", "stages", "in turns"],
)
def test_each_stack_is_numbered_without_a_gap(first, second, left):
    model = Pair(first, second).eval()
    cut = autoprune.prune(model, torch.randn(5, 4), {"second.layers.0": 0}).model
    kept = [*cut.first.layers, *list(cut.second.layers)[1:]]
    assert sorted(layer.layer_idx for layer in kept) == sorted(left)
    assert [layer.layer_idx for layer in cut.second.layers][1:] == ([0, 1] if len(second) == 3 else left[-1:])
