"""Operations against arithmetic: each multiply-add of each product is two."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.measure.counts import counts

HEADS, LENGTH, WIDTH = 4, 16, 64
PROJECTIONS = 4 * 2 * LENGTH * WIDTH * WIDTH
PRODUCTS = 2 * 2 * LENGTH * LENGTH * WIDTH


class Attention(nn.Module):
    def forward(self, x):
        heads = x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return functional.scaled_dot_product_attention(heads, heads, heads)


class Itself(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 256, batch_first=True), 2)


def test_nonzeros_are_the_weights_that_are_not_zero_and_all_biases_tied_ones_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    model[1].weight = model[0].weight
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[:2, :2] = 0
        model[1].bias[0] = 0
    found = counts(model, torch.zeros(1, 4))
    assert (found["params"].value, found["nonzeros"].value) == (24, 20)


@pytest.mark.parametrize(
    ("make", "operations"),
    [
        (Attention, PRODUCTS),
        (Itself, PROJECTIONS + PRODUCTS),
        (encoder, 2 * (PROJECTIONS + PRODUCTS + 2 * 2 * LENGTH * WIDTH * 256)),
        (lambda: nn.LSTM(WIDTH, 32, batch_first=True), 2 * LENGTH * 4 * 32 * (WIDTH + 32)),
        (
            lambda: nn.LSTM(WIDTH, 32, 2, batch_first=True, bidirectional=True),
            2 * LENGTH * 2 * 4 * 32 * ((WIDTH + 32) + (2 * 32 + 32)),
        ),
        (lambda: nn.GRU(WIDTH, 32, batch_first=True), 2 * LENGTH * 3 * 32 * (WIDTH + 32)),
    ],
)
def test_fused_operators_count_like_the_products_that_they_consist_of(make, operations):
    assert counts(make().eval(), torch.randn(1, LENGTH, WIDTH))["flops"].value == operations
