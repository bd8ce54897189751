"""Sizes that a model works out itself, in the ways that people write them."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune


class Attention(nn.Module):
    """Its numbers came from a table, a grid or a file, as NumPy has them."""

    width = np.int32(32)

    def __init__(self, kind):
        super().__init__()
        self.heads = kind(4)
        self.sizes = {"head": kind(8)}
        self.stem, self.qkv = nn.Linear(8, 32), nn.Linear(32, 96)
        self.out, self.head = nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        x = self.stem(x)
        batch, length, _ = x.shape
        parts = self.qkv(x).reshape(batch, length, 3, self.heads, self.sizes["head"]).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed = (query @ key.transpose(-1, -2)).softmax(-1) @ value
        mixed = mixed.transpose(1, 2).reshape(batch, length, self.heads * self.sizes["head"])
        return self.head(x[..., : self.width] + self.out(mixed))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, int])
def test_widths_that_are_numbers_of_numpy(kind):
    model, x = Attention(kind).eval(), torch.randn(2, 5, 8)
    pruned = autoprune.prune(model, x, 0.5)
    assert {group.kind for group in pruned.traced.open} == {"neuron", "head", "head_dim"}
    assert pruned.after["params"].value < 0.4 * pruned.before["params"].value
    assert type(pruned.model.heads) is kind
    assert type(pruned.model.width) is np.int32
    assert pruned.model(x).shape == (2, 5, 3)


class Worked(nn.Module):
    """One hidden layer whose size goes through some arithmetic on the way to the next."""

    def __init__(self, between, out=24):
        super().__init__()
        self.between = between
        self.stem, self.body, self.head = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(out, 3)

    def forward(self, x):
        return self.head(self.between(torch.relu(self.body(torch.relu(self.stem(x))))))


def in_two(x):
    return torch.cat([x[..., : x.shape[-1] >> 1], x[..., x.shape[-1] >> 1 :].neg()], -1)


def by_floor(x):
    return x.view(*x.shape[:-1], math.floor(x.shape[-1] / 4), 4).flatten(-2)


def by_ceil(x):
    return x.view(*x.shape[:-1], math.ceil(x.shape[-1] * 0.25), 4).flatten(-2)


def by_round(x):
    size = x.shape[-1]
    return x.view(*x.shape[:-1], round(size / 4), round(size / (size / 4))).flatten(-2)


def by_round_of_shares(x):
    first = round(x.shape[-1] * 0.75)
    return torch.cat(x.split([first, x.shape[-1] - first], -1)[::-1], -1)


def by_divmod(x):
    count, rest = divmod(x.shape[-1], 4)
    assert not rest
    return x.view(*x.shape[:-1], count, 4).flatten(-2)


def by_shift(x):
    return x.view(*x.shape[:-1], x.shape[-1] >> 2, 1 << 2).flatten(-2)


def by_numel(x):
    return x.reshape(x.shape[:2].numel(), x.shape[2:].numel()).view(x.shape)


def by_product_of_numpy(x):
    return x.reshape(-1, np.prod(x.shape[2:])).view(x.shape)


def by_scalar_of_numpy(x):
    return x.view(*x.shape[:-1], np.int64(2), x.shape[-1] // np.int64(2)).flatten(-2)


def by_power(x):
    return x.view(-1, x.shape[-1] ** 1).view(x.shape)


def by_new(x):
    return x + x.new(x.shape[-1]).fill_(1)


def by_new_of_a_shape(x):
    return x + x.new(x.shape).zero_()


def by_normal(x):
    return x + 0 * torch.normal(0.0, 1.0, (x.shape[-1],))


def by_normal_like(x):
    return x + 0 * torch.normal(mean=x, std=x.abs())


def by_comparing_with_numpy(x):
    size, scalar, array = x.shape[-1], np.int64(2), np.array([3, 5])
    plain = int(size)
    assert all((scalar < size, size > scalar, max(scalar, size) is size, scalar <= size, scalar != size))
    assert [scalar | size, size & scalar] == [2 | plain, plain & 2]
    assert all((*(array < size + 6), *(array % size == array % plain), *(size % array == plain % array)))
    assert [*divmod(np.int64(100), size), np.int64(2) ** size] == [*divmod(100, plain), 2**plain]
    assert all(
        (
            *(array**size == array**plain),
            *(array != size + 6),
            np.float32(0.5) < size / 4,
            np.float32(plain / 4) == size / 4,
        )
    )
    return x.view(*x.shape[:-1], size // scalar, scalar).flatten(-2)


WORKED = [in_two, by_floor, by_ceil, by_round, by_round_of_shares, by_divmod, by_shift, by_numel, by_product_of_numpy, by_scalar_of_numpy, by_comparing_with_numpy,
          by_power, by_new, by_new_of_a_shape, by_normal, by_normal_like]  # fmt: skip


@pytest.mark.parametrize("between", WORKED, ids=lambda each: each.__name__)
def test_a_size_is_known_through(between):
    model, x = Worked(between).eval(), torch.randn(2, 5, 8)
    pruned = autoprune.prune(model, x, 0.5)
    assert {group.name.partition("#")[0] for group in pruned.traced.open} == {"stem", "body"}, pruned.traced.summary()
    assert pruned.model.body.out_features < 24
    assert pruned.model(x).shape == (2, 5, 3)


@pytest.mark.parametrize("size", [13, 15])
@pytest.mark.parametrize("rest", [lambda x: -x % 4, lambda x: (4 - x % 4) % 4, lambda x: 4 - divmod(x, 4)[1]])
def test_what_is_filled_up_to_a_multiple_stays_and_the_line_is_named(rest, size):
    model = Worked(lambda x: functional.pad(x, (0, rest(x.shape[-1]))), out=16).eval()
    model.body = nn.Linear(24, size)
    pruned = autoprune.prune(model, torch.randn(2, 5, 8), 0.5)
    reasons = {group.name: group.frozen_reason for group in pruned.traced.groups}
    assert "test_sizes_worked_out.py:" in reasons["body"]
    assert {group.name for group in pruned.traced.open} == {"stem"}


def test_what_is_a_multiple_and_need_not_be_filled_up_stays_one():
    model = Worked(lambda x: functional.pad(x, (0, -x.shape[-1] % 4))).eval()
    pruned = autoprune.prune(model, torch.randn(2, 5, 8), 0.6)
    assert {group.name.partition("#")[0] for group in pruned.traced.open} == {"stem", "body"}
    assert pruned.model.body.out_features % 4 == 0


def by_a_third(x):
    return x.view(*x.shape[:-1], math.floor(x.shape[-1] * 0.33 + 0.2), 3).flatten(-2)


def test_a_share_that_floats_cannot_tell_exactly_stays_whole():
    traced = autoprune.trace(Worked(by_a_third).eval(), torch.randn(2, 5, 8))
    assert {group.name for group in traced.open} == {"stem"}


def by_int(x):
    return x.reshape(-1, int(x.shape[-1])).view(x.shape)


def test_what_int_forgets_is_named_by_file_and_line():
    traced = autoprune.trace(Worked(by_int).eval(), torch.randn(2, 5, 8))
    reasons = {group.name: group.frozen_reason for group in traced.groups}
    line = by_int.__code__.co_firstlineno + 1
    assert f"field/test_sizes_worked_out.py:{line}" in reasons["body"]
    assert f"field/test_sizes_worked_out.py:{line}" in traced.summary()


class Padded(nn.Module):
    """Padding worked out as tensors, as audio codecs do."""

    def __init__(self):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv1d(2, 16, 3), nn.Conv1d(16, 16, 3), nn.Linear(16, 3)
        self.register_buffer("span", torch.tensor(2))

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = functional.pad(x, (self.span, torch.tensor(0)))
        return self.head(self.body(x).mean(-1))


def test_padding_by_tensors():
    pruned = autoprune.prune(Padded().eval(), torch.randn(2, 2, 12), 0.5)
    assert {group.name for group in pruned.traced.open} == {"stem", "body"}
    assert not any("watched" in note for note in pruned.traced.notes)
