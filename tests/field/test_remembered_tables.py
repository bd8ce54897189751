"""Tables that code keeps outside of the model for the next call: in globals, classes, and dicts and lists in them."""

from types import FunctionType

import pytest
import torch
from torch import nn

import autoprune

TABLES = {"by size": {}}
LISTED = []
TABLE = None


class Remembering(nn.Module):
    """`way` is where the table is kept."""

    kept = None

    def __init__(self, way):
        super().__init__()
        self.way, self.stem, self.head = way, nn.Linear(64, 16), nn.Linear(16, 3)

    def forward(self, x):
        hidden = torch.relu(self.stem(x))
        return self.head(hidden * getattr(self, self.way)(len(hidden), hidden.device)[:, None])

    def in_a_dict(self, size, device):
        if size not in TABLES["by size"]:
            TABLES["by size"][size] = torch.linspace(1, 2, size, device=device)
        return TABLES["by size"][size]

    def in_a_list(self, size, device):
        if not LISTED:
            LISTED.append(torch.linspace(1, 2, size, device=device))
        return LISTED[0]

    def in_a_global(self, size, device):
        global TABLE  # noqa: PLW0603 - as people do
        if TABLE is None:
            TABLE = torch.linspace(1, 2, size, device=device)
        return TABLE

    def in_the_class(self, size, device):
        if type(self).kept is None:
            type(self).kept = torch.linspace(1, 2, size, device=device)
        return self.kept


@pytest.mark.parametrize("way", ["in_a_dict", "in_a_list", "in_a_global", "in_the_class"])
def test_a_table_without_data_is_not_left_to_the_model(way):
    """Of inputs of this length it is traced on meta tensors."""
    model, x = Remembering(way).eval(), torch.randn(4096, 64)
    pruned = autoprune.prune(model, x, 0.5)
    assert pruned.model.stem.out_features == 8
    assert model(x).shape == pruned.model(x).shape == (4096, 3)


def test_functions_without_a_module_beside_a_model_do_no_harm(monkeypatch):
    made = FunctionType((lambda: None).__code__, {})
    made.__module__ = None
    monkeypatch.setitem(globals(), "_made_by_exec", made)
    model = Remembering("in_a_dict").eval()
    assert autoprune.trace(model, torch.randn(4096, 64)).open
