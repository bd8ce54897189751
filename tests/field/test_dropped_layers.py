"""A model with dropped layers is carried elsewhere as any other: pickled, and scripted."""

import importlib
import subprocess
import sys

import torch

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
