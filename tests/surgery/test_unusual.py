"""Modules that show or say less than they do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune


class Fed(nn.Module):
    """Attention whose query comes from elsewhere than a stream that it is added to."""

    def __init__(self, name):
        super().__init__()
        self.fed = name
        setattr(self, name, nn.Linear(6, 32))
        self.attention, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 3)

    def forward(self, x):
        x = getattr(self, self.fed)(x)
        return self.head(self.attention(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("name", ["e", "encoder", "backbone"])
def test_the_width_of_a_query_is_cut_on_its_own(name):
    model, x = Fed(name).eval(), torch.randn(2, 5, 6)
    assert name in {group.name for group in autoprune.trace(model, x).open}
    cut = autoprune.prune(model, x, {name: 8}).model
    assert cut(x).shape == (2, 5, 3)
    assert cut.attention.embed_dim == 8


class Pooled(nn.Module):
    """Attention over places by the mean and the largest of all channels (Woo et al. 2018)."""

    def __init__(self, tell=False):
        super().__init__()
        self.stem, self.gate, self.head = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(2, 1, 3, padding=1),
            nn.Linear(16, 3),
        )
        self.tell = tell

    def forward(self, x):
        x = functional.relu(self.stem(x))
        largest, which = torch.max(x, 1, keepdim=True)
        gate = torch.sigmoid(self.gate(torch.cat([x.mean(1, keepdim=True), largest], 1)))
        scores = self.head((x * gate).mean((2, 3)))
        return (scores, which) if self.tell else scores


def test_a_largest_channel_keeps_the_others_whole_only_where_it_is_told_which_one_it_was():
    x = torch.randn(2, 3, 8, 8)
    assert "stem" in {group.name for group in autoprune.trace(Pooled().eval(), x).open}
    assert "stem" not in {group.name for group in autoprune.trace(Pooled(tell=True).eval(), x).open}


def test_weights_under_spectral_norm_are_cut():
    norm = nn.utils.spectral_norm
    model = nn.Sequential(
        norm(nn.Conv2d(3, 16, 3)), nn.ReLU(), norm(nn.Conv2d(16, 8, 3)), nn.Flatten(), norm(nn.Linear(128, 1))
    )
    x = torch.randn(1, 3, 8, 8)
    pruned = autoprune.prune(model.eval(), x, 0.5)
    assert pruned.model[0].out_channels == 8
    assert pruned.model(x).shape == (1, 1)


class Stubborn(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("not me")


def test_a_module_that_refuses_to_be_copied_is_rebuilt_and_the_users_left_alone():
    model = nn.Sequential(Stubborn(8, 16), nn.ReLU(), nn.Linear(16, 2))
    pruned = autoprune.prune(model.eval(), torch.randn(2, 8), 0.5)
    assert pruned.model[0] is not model[0]
    assert (type(model[0].in_features), model[0].out_features, pruned.model[0].out_features) == (int, 16, 8)


class Tied(nn.Module):
    """Weights that are read along one dimension and then along the other."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.head = nn.Linear(10, 16), nn.Linear(16, 8), nn.Linear(10, 3)

    def forward(self, x):
        code = functional.relu(self.narrow(functional.relu(self.wide(x))))
        return self.head(
            functional.linear(functional.relu(functional.linear(code, self.narrow.weight.t())), self.wide.weight.t())
        )


@pytest.mark.parametrize("criterion", ["hessian", "wanda", "taylor"])
def test_weights_that_are_read_both_ways_are_ranked_and_left_unhealed(criterion):
    x, y = torch.randn(200, 10), torch.randint(0, 3, (200,))
    task = autoprune.Classification(Tied(), data=(x, y), example_inputs=(x[:4],))
    assert "wide.weight" not in autoprune.trace(task.model, x[:4]).reading
    assert autoprune.prune(task.model, x[:4], 0.5, criterion=criterion, task=task).model(x).shape == (200, 3)
