"""Models that draw random numbers, also when they do not train."""

import random
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Gamma, Normal
from torch.nn import functional

import autoprune
from autoprune.surgery.coverage import coverage
from tests.field.test_operators import Between, covered, share_left

FUNCTIONS = {
    "dropout left on": lambda h: functional.dropout(h, 0.5, training=True),
    "whole channels": lambda h: functional.dropout1d(h.transpose(1, 2), 0.5, training=True).transpose(1, 2),
    "alpha dropout": lambda h: functional.alpha_dropout(h, 0.5, training=True),
    "mask": lambda h: h * torch.bernoulli(torch.full_like(h, 0.5)),
    "mask by comparison": lambda h: h * (torch.rand(h.shape) > 0.3),
    "added": lambda h: h + torch.randn_like(h),
    "added in place": lambda h: h + torch.zeros_like(h).uniform_(-1, 1),
    "whole numbers": lambda h: h * torch.randint(1, 4, h.shape),
    "gumbel": lambda h: h * functional.gumbel_softmax(h, dim=-1),
    "poisson": lambda h: h + torch.poisson(h.abs()),
    "gamma": lambda h: h + Gamma(h.abs() + 1, torch.ones_like(h)).sample(),
    "random slope": lambda h: functional.rrelu(h - 0.5, training=True),
    "generator": lambda h: h + torch.randn(h.shape, generator=torch.Generator().manual_seed(1)),
    "python": lambda h: h * random.random(),
    "numpy": lambda h: h + torch.from_numpy(np.random.randn(2, 1, 1).astype("float32")),
    "attention": lambda h: functional.scaled_dot_product_attention(*[h.unsqueeze(1)] * 3, dropout_p=0.2).squeeze(1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_model_with_noise_is_cut_like_one_without(name):
    assert share_left(Between(FUNCTIONS[name]), torch.randn(2, 6, 8)) < 0.36


class Bayesian(nn.Module):
    """A linear layer whose weights are drawn anew each time (Blundell et al. 2015)."""

    def __init__(self, inputs, outputs, draw):
        super().__init__()
        self.mean = nn.Parameter(torch.randn(outputs, inputs) * 0.3)
        self.deviation = nn.Parameter(torch.rand(outputs, inputs) + 0.1)
        self.draw = draw

    def forward(self, x):
        return functional.linear(x, self.draw(self.mean, self.deviation))


@pytest.mark.parametrize(
    "draw",
    [
        torch.normal,
        lambda mean, deviation: mean + deviation * torch.randn_like(mean),
        lambda mean, deviation: mean + deviation * torch.normal(0.0, 1.0, mean.shape),
        lambda mean, deviation: Normal(mean, deviation).rsample(),
    ],
    ids=["normal", "like", "of a size", "distribution"],
)
def test_layers_with_drawn_weights_are_cut(draw):
    model = nn.Sequential(Bayesian(8, 32, draw), nn.ReLU(), Bayesian(32, 32, draw), nn.ReLU(), Bayesian(32, 3, draw))
    assert covered(model, torch.randn(4, 8)) > 0.95
    assert share_left(model, torch.randn(4, 8)) < 0.36


class Autoencoder(nn.Module):
    """A latent that is drawn (Kingma & Welling 2014)."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.head = nn.Linear(8, 32), nn.Linear(12, 32), nn.Linear(32, 8)
        self.mean, self.spread = nn.Linear(32, 12), nn.Linear(32, 12)

    def forward(self, x):
        x = torch.relu(self.encoder(x))
        latent = self.mean(x) + torch.exp(self.spread(x) / 2) * torch.randn(self.mean.out_features)
        return self.head(torch.relu(self.decoder(latent)))


def test_the_latent_of_an_autoencoder_is_cut():
    model = Autoencoder().eval()
    assert share_left(model, torch.randn(4, 8)) < 0.36
    assert {"mean", "encoder", "decoder"} == {group.name for group in autoprune.trace(model, torch.randn(4, 8)).open}


class Generator(nn.Module):
    """Images from a code and noise at each position; norms see the noise."""

    def __init__(self):
        super().__init__()
        self.code, self.conv = nn.Linear(16, 128), nn.Conv2d(32, 16, 3, padding=1)
        self.norm, self.head = nn.InstanceNorm2d(16, affine=True), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        x = self.code(torch.randn(len(x), self.code.in_features)).view(-1, self.conv.in_channels, 2, 2)
        x = torch.relu(x + torch.randn(len(x), 1, 2, 2))
        return self.head(torch.relu(self.norm(self.conv(x))))


def test_a_generator_of_images_is_cut():
    assert share_left(Generator(), torch.randn(2, 1)) < 0.36


def test_masked_positions_drawn_by_sorting_noise_stay():
    def kept(h):
        order = torch.rand(h.shape[:2]).argsort(1)[:, :3]
        return torch.gather(h, 1, order.unsqueeze(-1).expand(-1, -1, h.shape[-1]))

    assert share_left(Between(kept), torch.randn(2, 6, 8)) < 0.36


@torch.library.custom_op("autoprune_field::backwards", mutates_args=())
def backwards(x: torch.Tensor) -> torch.Tensor:
    return x.flip(-1) * x


def drawn_into(h):
    """In tensors that are made before, as code that saves memory does."""
    noise, mask = torch.zeros_like(h), torch.zeros_like(h)
    torch.normal(torch.zeros_like(h), 1.0, out=noise)
    torch.bernoulli(torch.full_like(h, 0.5), out=mask)
    return (h + noise) * mask


@pytest.mark.parametrize("noisy", [lambda h: functional.dropout(h, 0.5, True) + torch.randn_like(h), drawn_into])
def test_noise_hides_no_order_that_matters(noisy, monkeypatch):
    """A rule that is wrong is found by the proofs, noise or not."""
    wrong = SimpleNamespace(
        RULES={"autoprune_field.backwards": lambda call: call.trace.set(call.out, call.trace.of(call.args[0]))}
    )
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda _: wrong)
    entry = metadata.EntryPoint("wrong", "wrong", "autoprune.rules")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == "autoprune.rules" else [])
    model = Between(lambda h: torch.ops.autoprune_field.backwards(noisy(h)))
    traced = autoprune.trace(model.eval(), torch.randn(2, 6, 8))
    assert {group.name for group in traced.open} == {"second"}
    assert coverage(model, traced).left["reordering its slices changes the output"] > 0


def test_the_callers_random_numbers_are_left_alone():
    model, x = Between(FUNCTIONS["python"]).eval(), torch.randn(2, 6, 8)
    plain, arrays, tensors = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    autoprune.trace(model, x)
    assert np.random.get_state()[1].tolist() == arrays
    assert torch.equal(torch.get_rng_state(), tensors)
    assert random.getstate() == plain
