"""Low-rank adapters that were pruned tell their rank; laid out as those of peft."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import autoprune

RANK, ALPHA = 8, 16


class Adapted(nn.Module):
    """A linear layer with an adapter."""

    def __init__(self, width):
        super().__init__()
        self.base_layer = nn.Linear(width, width)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(width, RANK, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(RANK, width, bias=False)})
        self.r, self.lora_alpha, self.scaling = {"default": RANK}, {"default": ALPHA}, {"default": ALPHA / RANK}

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x)) * self.scaling["default"]


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 12), Adapted(12), Adapted(12), Adapted(12), nn.Linear(12, 3))
        config = SimpleNamespace(r=RANK, lora_alpha=ALPHA, rank_pattern={}, alpha_pattern={}, use_rslora=False)
        self.peft_config = {"default": config}

    def forward(self, x):
        return self.model(x)


@pytest.mark.parametrize(
    ("ranks", "usual", "others"), [((4, 4, 4), 4, {}), ((4, 2, 4), 4, {"2": 2}), ((8, 8, 6), 8, {"3": 6})]
)
def test_the_configuration_tells_the_ranks_that_are_left(ranks, usual, others):
    torch.manual_seed(0)
    model, inputs = Holder().eval(), torch.randn(2, 4)
    keep = {f"model.{place}.lora_A.default": rank for place, rank in enumerate(ranks, 1)}
    pruned = autoprune.prune(model, inputs, keep)
    config = pruned.model.peft_config["default"]
    assert (config.r, config.rank_pattern) == (usual, others)
    assert (config.lora_alpha, config.alpha_pattern) == (2 * usual, {name: 2 * rank for name, rank in others.items()})
    assert not pruned.notes
    for rank, layer in zip(ranks, pruned.model.model[1:4], strict=True):
        assert (layer.r["default"], layer.scaling["default"]) == (rank, ALPHA / RANK)
    assert model.peft_config["default"].r == model.model[2].r["default"] == RANK
