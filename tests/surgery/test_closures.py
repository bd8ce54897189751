"""Functions that hold the model that holds them."""

import pytest
import torch
from torch import nn

import autoprune


class Watched(nn.Module):
    """A model that reads what its own hook kept."""

    def __init__(self, hook):
        super().__init__()
        self.first, self.last, self.seen = nn.Linear(8, 16), nn.Linear(16, 3), {}
        self.first.register_forward_hook(hook(self))

    def forward(self, x):
        self.first(x)
        return self.last(self.seen["first"].relu())


def by_closure(model):
    return lambda _, __, out: model.seen.update(first=out)


def by_default(model):
    return lambda _, __, out, seen=model.seen: seen.update(first=out)


def by_inner_function(model):
    def keep(out):
        model.seen["first"] = out

    return lambda _, __, out: keep(out)


@pytest.mark.parametrize("hook", [by_closure, by_default, by_inner_function])
def test_a_hook_of_a_copy_writes_to_the_copy(hook):
    model, x = Watched(hook).eval(), torch.randn(2, 8)
    cut = autoprune.prune(model, x, {"first": 8}).model
    assert cut(x).shape == (2, 3)
    assert cut.seen["first"].shape == (2, 8)
    assert not model.seen


def test_what_a_hook_writes_to_outside_of_the_model_stays_outside():
    kept = []
    model, x = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)).eval(), torch.randn(2, 8)
    model[0].register_forward_hook(lambda _, __, out: kept.append(out.shape[1]))
    cut = autoprune.prune(model, x, {"0": 8}).model
    kept.clear()
    cut(x)
    assert kept == [8]
