"""Models with parameters that hold nothing, as a head of as many classes as a configuration says, and it says none."""

import pytest
import torch
from torch import nn

import autoprune


class Empty(nn.Module):
    """Rows of a prefix of no length stand before the weights."""

    def __init__(self):
        super().__init__()
        self.prefix = nn.Parameter(torch.empty(0, 16))
        self.stem, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        hidden = torch.relu(self.stem(x))
        return self.head(torch.cat([self.prefix, hidden]))


@pytest.mark.parametrize("criterion", ["l1", "l2", "lamp"])
def test_they_are_cut_saved_and_loaded(tmp_path, criterion):
    model, x = Empty().eval(), torch.randn(4, 8)
    pruned = autoprune.prune(model, x, 0.5, criterion=criterion)
    assert (pruned.model.stem.out_features, tuple(pruned.model.prefix.shape)) == (8, (0, 8))
    pruned.save(tmp_path)
    again = autoprune.load(tmp_path, model=model, example_inputs=x)
    torch.testing.assert_close(again(x), pruned.model(x))
