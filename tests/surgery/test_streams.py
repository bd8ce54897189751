"""Which weights add to the same stream, as they are seen to run."""

import pytest
import torch
from torch import nn

from autoprune.surgery.find import named_tensors
from autoprune.surgery.streams import StreamWatch


class Block(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.norm, self.up, self.down, self.order = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 6), order

    def forward(self, x):
        if self.order == "after":
            return self.norm(x + self.down(self.up(x).relu()))
        branch = self.down(self.up(self.norm(x)).relu())
        if self.order == "scaled":
            branch = 0.5 * branch
        return x + (branch.transpose(0, 1).contiguous() if self.order == "turned" else branch)


@pytest.mark.parametrize(
    ("order", "streams"),
    [("before", ("0.weight", "1.down.weight", "2.down.weight")), ("after", ("0.weight", "1.down.weight"))],
)
def test_a_stream_ends_where_it_is_normalised(order, streams):
    assert found(nn.Sequential(nn.Linear(6, 6), Block(order), Block(order))) == dict.fromkeys(streams, streams)


@pytest.mark.parametrize("order", ["scaled", "turned"])
def test_what_is_scaled_or_turned_before_it_is_added_is_no_part_of_it(order):
    assert found(nn.Sequential(nn.Linear(6, 6), Block(order))) == {}


def found(model):
    watch = StreamWatch(dict(named_tensors(model)))
    with torch.no_grad(), watch:
        model.eval()(torch.randn(4, 4, 6))
    return watch.streams
