"""Modules that show or say less than they do."""

import dataclasses
from collections import OrderedDict, defaultdict
from types import FunctionType
from typing import NamedTuple

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


class Attributes(dict):
    """A dict whose items are read as attributes, as PyTorch Lightning keeps hyperparameters."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Sloppy(dict):
    """The same in one line, which `hasattr` and `copy` stumble over."""

    __getattr__ = dict.__getitem__


class Itself(dict):
    """The same by another line."""

    def __init__(self, **items):
        super().__init__(items)
        self.__dict__ = self


class Either(dict):
    """A dict whose items are attributes as well."""

    def __init__(self, **items):
        for name, value in items.items():
            self[name] = value

    def __setitem__(self, name, value):
        super().__setitem__(name, value)
        super().__setattr__(name, value)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    width: int


class Named(NamedTuple):
    width: int


class Node:
    """A value of a tree in which each knows its parent, as in a configuration of OmegaConf."""

    def __init__(self, value, parent=None):
        self.parent, self.value = parent, value
        if isinstance(value, dict):
            self.value = {name: Node(each, self) for name, each in value.items()}

    def __getattr__(self, name):
        if name not in vars(self).get("value", ()):
            raise AttributeError(name)
        found = vars(self)["value"][name]
        return found if isinstance(found.value, dict) else found.value


class Told(nn.Module):
    """A width that is read off what the model keeps."""

    def __init__(self, kept, width):
        super().__init__()
        self.kept, self.width = kept, width
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)).reshape(-1, self.width(self.kept)))


def of_attribute(kept):
    return kept.width


def of_item(kept):
    return kept["width"]


def of_tree(kept):
    return kept.model.width


@pytest.mark.parametrize(
    ("kept", "width"),
    [
        (OrderedDict(width=16), of_item),
        (defaultdict(int, width=16), of_item),
        (Attributes(width=16), of_attribute),
        (Sloppy(width=16), of_attribute),
        (Itself(width=16), of_attribute),
        (Either(width=16), of_attribute),
        (Either(width=16), of_item),
        (Slotted(16), of_attribute),
        (Named(16), of_attribute),
        (Node({"model": {"width": 16}}), of_tree),
    ],
    ids=lambda given: (given if isinstance(given, FunctionType) else type(given)).__name__,
)
def test_a_width_is_changed_wherever_a_model_keeps_it(kept, width):
    model, x = Told(kept, width).eval(), torch.randn(2, 8)
    cut = autoprune.prune(model, x, {"first": 8}).model
    assert cut(x).shape == (2, 3)
    assert width(cut.kept) == 8
    assert width(kept) == 16


class Restored(Attributes):
    """A configuration that copies itself as it was made."""

    def __init__(self, **items):
        super().__init__(items)
        self.__dict__["made"] = items

    def __deepcopy__(self, memo):
        return Restored(**self.__dict__["made"])


def test_a_width_that_a_copy_would_not_have_stays():
    model, x = Told(Restored(width=16), of_item).eval(), torch.randn(2, 8)
    assert "first" not in {group.name for group in autoprune.trace(model, x).open}


def test_what_cleans_up_when_it_goes_is_not_copied():
    closed = []

    class Open:
        def __init__(self):
            self.descriptor = 16

        def __del__(self):
            closed.append(self.descriptor)

    class Closing(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 16), nn.Linear(16, 3))
            self.file = Open()

    model = Closing().eval()
    autoprune.trace(model, torch.randn(2, 8))
    assert not closed


def test_what_cannot_be_cut_is_told_apart_from_what_does_not_run(monkeypatch):
    def refuses(*_arguments, **_named):
        raise ValueError("no")

    monkeypatch.setattr("autoprune.surgery.verify.apply", refuses)
    traced = autoprune.trace(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)).eval(), torch.randn(2, 8))
    assert {group.frozen_reason for group in traced.groups} >= {"it cannot be cut (ValueError: no)"}
