import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import autoprune
from autoprune.errors import UsageError


def zeroed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight[:, ::2] = 0
    return model


def test_zeros_survive_training_once_they_are_masks_of_torch():
    model = autoprune.to_torch_prune(zeroed())
    assert prune.is_pruned(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        model(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
    model(torch.randn(4, 8))
    assert not model[0].weight[:, ::2].any()
    assert model[0].weight[:, 1::2].all()


def test_masks_of_torch_become_zeros_of_a_plain_model():
    model = zeroed()
    prune.l1_unstructured(model[2], "weight", amount=0.5)
    expected = model[2].weight_mask.bool()
    found = autoprune.from_torch_prune(model)
    assert set(found) == {"2.weight"}
    assert torch.equal(found["2.weight"], expected)
    assert not prune.is_pruned(model)
    assert torch.equal(model[2].weight != 0, expected)
    assert set(dict(model.named_parameters())) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_masks_are_found_in_both_forms_and_go_there_and_back():
    plain = autoprune.masks(zeroed())
    assert set(plain) == {"0.weight"}
    wrapped = autoprune.to_torch_prune(zeroed())
    assert torch.equal(autoprune.masks(wrapped)["0.weight"], plain["0.weight"])
    assert torch.equal(autoprune.from_torch_prune(wrapped)["0.weight"], plain["0.weight"])


@pytest.mark.parametrize(
    ("name", "shape"), [("0.weight", (2, 2)), ("nothing", (8, 8)), ("9.weight", (8, 8)), ("1.weight", (8, 8))]
)
def test_masks_of_another_model_are_refused(name, shape):
    with pytest.raises(UsageError, match="autoprune.masks"):
        autoprune.to_torch_prune(zeroed(), {name: torch.ones(shape, dtype=torch.bool)})


def test_a_tied_weight_is_masked_wherever_it_stands():
    model = zeroed()
    model.add_module("again", nn.Linear(8, 8))
    model.again.weight = model[0].weight
    autoprune.to_torch_prune(model)
    assert not model[0].weight[:, ::2].any()
    assert not model.again.weight[:, ::2].any()
