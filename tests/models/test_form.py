"""A pruned model is rebuilt from its folder and the dense model alone."""

import json
import logging

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import StorageError, UsageError
from autoprune.surgery.tracer import tensors_of
from tests.surgery.nets import NETS, made


class Waves(nn.Module):
    """Frequencies of hidden channels, which no file keeps."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.linspace(1, 2, 16), persistent=False)
        self.inner, self.outer = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.outer(torch.sin(self.inner(x) * self.frequencies))


def pruned(tmp_path, model, inputs, keep=0.5):
    found = autoprune.prune(model, inputs, keep)
    found.save(tmp_path)
    return found


@torch.no_grad()
def same(one, other, inputs):
    torch.manual_seed(0)
    left = tensors_of(one(*inputs))
    torch.manual_seed(0)
    return all(torch.equal(a, b) for a, b in zip(left, tensors_of(other(*inputs)), strict=True))


@pytest.mark.parametrize("name", NETS)
def test_no_inputs_are_needed(name, tmp_path):
    model, inputs = made(name)
    found = pruned(tmp_path, model, inputs)
    assert same(autoprune.load(tmp_path, model=model), found.model, inputs)


def test_what_no_file_keeps_is_cut_like_the_rest(tmp_path):
    x = (torch.randn(2, 4),)
    found = pruned(tmp_path, Waves().eval(), x)
    again = autoprune.load(tmp_path, model=Waves())
    assert again.frequencies.shape == (8,)
    assert same(again, found.model, x)


def test_the_last_bits_of_constants_are_no_other_model(tmp_path, caplog):
    pruned(tmp_path, Waves().eval(), torch.randn(2, 4))
    other = Waves()
    other.frequencies = torch.nextafter(other.frequencies, torch.tensor(9.0))
    autoprune.load(tmp_path, model=other)
    assert "other buffers" not in caplog.text


def test_another_dense_model_is_told(tmp_path, caplog):
    pruned(tmp_path, Waves().eval(), torch.randn(2, 4))
    other = Waves()
    other.frequencies += 1
    with caplog.at_level(logging.INFO, "autoprune"):
        autoprune.load(tmp_path, model=other)
    told = [(record.levelname, record.message) for record in caplog.records]
    assert ["other weights" in told[0][1], "no file keeps" in told[1][1]] == [True, True]
    assert [level for level, _ in told] == ["INFO", "WARNING"]


def test_the_same_dense_model_needs_no_word(tmp_path, caplog):
    model = Waves().eval()
    pruned(tmp_path, model, torch.randn(2, 4))
    with caplog.at_level(logging.INFO, "autoprune"):
        autoprune.load(tmp_path, model=model)
    assert not caplog.records


def test_a_model_of_another_class_is_refused(tmp_path):
    pruned(tmp_path, Waves().eval(), torch.randn(2, 4))
    with pytest.raises(StorageError, match="made from"):
        autoprune.load(tmp_path, model=nn.Linear(4, 3))


def test_a_folder_of_an_earlier_version_is_traced(tmp_path, caplog):
    model, x = Waves().eval(), (torch.randn(2, 4),)
    found = pruned(tmp_path, model, x)
    plan = json.loads((tmp_path / "plan.json").read_text())
    del plan["form"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UsageError, match="example_inputs"):
        autoprune.load(tmp_path, model=model)
    with caplog.at_level(logging.INFO, "autoprune"):
        assert same(autoprune.load(tmp_path, model=model, example_inputs=x), found.model, x)
    assert "earlier version" in caplog.text


@pytest.mark.parametrize("damage", [{}, {"outline": 3}, []])
def test_a_damaged_form_is_refused(tmp_path, damage):
    model = Waves().eval()
    pruned(tmp_path, model, torch.randn(2, 4))
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "form": damage}))
    with pytest.raises(StorageError, match="a plan in"):
        autoprune.load(tmp_path, model=model)
