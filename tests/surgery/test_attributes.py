"""Wherever a model keeps the sizes that it reads."""

import dataclasses
from collections import OrderedDict, defaultdict
from types import FunctionType
from typing import NamedTuple

import pytest
import torch
from torch import nn

import autoprune
from autoprune.surgery.attributes import tag_all
from autoprune.surgery.clone import clone


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


class Sized(nn.Module):
    """A width that its class keeps."""

    WIDTH = 16

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, self.WIDTH), nn.Linear(self.WIDTH, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)).reshape(-1, self.WIDTH))


def test_a_width_that_a_class_keeps_is_changed_for_the_cut_model_alone():
    cut = autoprune.prune(Sized().eval(), torch.randn(2, 8), {"first": 8}).model
    assert cut(torch.randn(2, 8)).shape == (2, 3)
    assert (cut.WIDTH, Sized.WIDTH) == (8, 16)


def test_objects_that_all_know_each_other_are_not_followed_for_ever():
    class Known:
        def __init__(self):
            self.number = 2

    known = [Known() for _ in range(30)]
    for each in known:
        vars(each)["others"] = known
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)).eval()
    model.known = known
    found = []
    tag_all(clone(model, lambda tensor: tensor), lambda attribute: found.append(attribute) or attribute.size)
    assert len(found) < 3000
