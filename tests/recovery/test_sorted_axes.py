"""Attention in sorted axes: exact at full rank, and what is cut is the least that can be, against numpy."""

import numpy as np
import pytest
import torch
from torch import nn

import autoprune
from autoprune.recovery.sorted_axes import balanced
from autoprune.testing.criterion import task_of

WIDTH, HEADS, AXES, TOKENS = 6, 2, 4, 5


class Attention(nn.Module):
    """queries: heads of queries for each head of keys and values; fused: one projection for all three."""

    def __init__(self, queries=1, fused=False, bias=True, values=AXES):
        super().__init__()
        self.queries, self.fused, self.axes, self.values = queries, fused, AXES, values
        sizes = HEADS * queries * AXES, HEADS * AXES, HEADS * values
        if fused:
            self.qkv = nn.Linear(WIDTH, sum(sizes), bias)
        else:
            self.q, self.k, self.v = (nn.Linear(WIDTH, size, bias) for size in sizes)
        self.o = nn.Linear(HEADS * queries * values, 5, bias)

    def parts(self, x):
        """(samples, heads, tokens, axes) each."""
        if self.fused:
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            q, k, v = self.q(x), self.k(x), self.v(x)
        q, k = (each.unflatten(-1, (-1, self.axes)).transpose(1, 2) for each in (q, k))
        v = v.unflatten(-1, (-1, self.values)).transpose(1, 2)
        return q, k, v

    def scores(self, x):
        q, k, _ = self.parts(x)
        return q.unflatten(1, (-1, self.queries)) @ k[:, :, None].mT

    def forward(self, x):
        _, _, v = self.parts(x)
        mixed = self.scores(x).div(2).softmax(-1) @ v[:, :, None]
        return self.o(mixed.flatten(1, 2).transpose(1, 2).flatten(2)).mean(1)


def attention_task(**how):
    torch.manual_seed(3)
    return task_of(Attention(**how), TOKENS, WIDTH)


def inputs_of(task):
    return torch.cat([batch[0] for batch in task.split("calibration")])


def cut(task, keep, repair="reconstruct", axes="q"):
    """The model with so many axes of queries and keys, or of values."""
    traced = autoprune.trace(task.model, task.example_inputs)
    names = {axes: group.name for group in traced.open if group.kind == "head_dim" for axes in _written(group)}
    return autoprune.prune(task.model, task.example_inputs, {names[axes]: keep}, repair=repair, task=task).model


def _written(group):
    return {member.tensor.partition(".")[0] for member in group.members if member.dim == 0}


@pytest.mark.parametrize("how", [{}, {"queries": 3}, {"fused": True}, {"bias": False}, {"values": 3}])
def test_nothing_changes_at_full_rank(how):
    task = attention_task(**how)
    traced = autoprune.trace(task.model, task.example_inputs)
    assert traced.bases
    assert all(basis.free for basis in traced.bases.values())
    x = inputs_of(task)
    for repair in ("reconstruct", "sequential"):
        plan = {group.name: group.size for group in traced.open if group.kind == "head_dim"}
        model = autoprune.prune(task.model, task.example_inputs, plan, repair=repair, task=task).model
        torch.testing.assert_close(model(x), task.model(x), atol=1e-9, rtol=0)
        weights = zip(model.parameters(), task.model.parameters(), strict=True)
        assert not all(torch.allclose(own, dense) for own, dense in weights)


@pytest.mark.parametrize("how", [{}, {"queries": 3}, {"bias": False}])
def test_the_error_of_scores_is_the_least_of_their_rank(how):
    """Over independent pairs of tokens, against the singular values of R^1/2 W'q W'k R^1/2."""
    task = attention_task(**how)
    x = inputs_of(task).flatten(0, 1).numpy()
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    root = np.linalg.cholesky(x.T @ x / len(x))
    q, k = (_with_bias(layer) for layer in (task.model.q, task.model.k))
    for keep in (1, 2, 3):
        model = cut(task, keep)
        own = [_with_bias(layer) for layer in (model.q, model.k)]
        for head in range(HEADS):
            dense, small = (
                np.concatenate(
                    [
                        root.T
                        @ a.reshape(HEADS, -1, axes, WIDTH + 1)[head, query].T
                        @ b.reshape(HEADS, axes, -1)[head]
                        @ root
                        for query in range(task.model.queries)
                    ]
                )
                for a, b, axes in ((q, k, AXES), (*own, keep))
            )
            least = np.square(np.linalg.svd(dense)[1][keep:]).sum()
            np.testing.assert_allclose(np.square(dense - small).sum(), least, rtol=1e-4)


def _with_bias(layer):
    bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return torch.cat([layer.weight, bias[:, None]], 1).detach().numpy()


def test_no_other_basis_loses_less():
    """Brute force: all sets of axes of a thousand bases."""
    drawn = torch.Generator().manual_seed(0)
    z, y = (
        torch.randn(50, 3, generator=drawn).double() @ torch.randn(3, 3, generator=drawn).double() for _ in range(2)
    )
    change, contrary, values = balanced(z.T @ z / 50, y.T @ y / 50)
    torch.testing.assert_close(change @ contrary.T, torch.eye(3).double(), atol=1e-6, rtol=0)
    whole = z @ y.T
    error = (whole - (z @ change[:1].T) @ (y @ contrary[:1].T).T).square().mean()
    torch.testing.assert_close(error, values[1:].square().sum(), rtol=1e-5, atol=0)
    for _ in range(1000):
        other = torch.randn(3, 3, generator=drawn).double()
        inverse = torch.linalg.inv(other).T
        errors = [(whole - (z @ other[[i]].T) @ (y @ inverse[[i]].T).T).square().mean() for i in range(3)]
        assert error <= min(errors) * (1 + 1e-6)


def test_values_lose_the_least_of_what_is_put_out():
    """Heads by themselves lose what the singular values of W_o Z^1/2 say; together they make up for a part."""
    task = attention_task()
    model = cut(task, 2, axes="v")
    (dense, whole), (own, small) = (mixtures(task, each) for each in (task.model, model))
    errors = (dense - dense.mean(0)) @ whole.T - (own - own.mean(0)) @ small.T
    least = sum(
        torch.linalg.svdvals(values @ weights.T)[2:].square().sum()
        for values, weights in zip((dense - dense.mean(0)).split(AXES, 1), whole.split(AXES, 1), strict=True)
    )
    assert errors.square().sum() <= least


def mixtures(task, model):
    """What enters the output projection, and its weight."""
    seen = []
    hook = model.o.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(inputs_of(task))
    hook.remove()
    return seen[0].flatten(0, 1), model.o.weight.detach()


class Divided(Attention):
    """Products are divided by the root of the axes that there are: by the code, or by torch's own attention."""

    def __init__(self, fused):
        super().__init__()
        self.torchs = fused

    def forward(self, x):
        q, k, v = self.parts(x)
        if self.torchs:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
        return self.o(mixed.transpose(1, 2).flatten(2)).mean(1)


@pytest.mark.parametrize("repair", ["reconstruct", "sequential"])
@pytest.mark.parametrize("fused", [True, False])
def test_products_of_fewer_axes_are_divided_by_what_those_of_all_were(fused, repair):
    """Queries and keys of rank one lose nothing with one axis."""
    torch.manual_seed(3)
    task = task_of(Divided(fused), TOKENS, WIDTH)
    with torch.no_grad():
        for layer in (task.model.q, task.model.k):
            layer.weight.copy_(torch.randn(HEADS * AXES, 1) @ torch.randn(1, WIDTH))
            layer.bias.zero_()
    model = cut(task, 1, repair)
    assert model.q.weight.shape == (HEADS, WIDTH)
    x = inputs_of(task)
    torch.testing.assert_close(model(x), task.model(x), atol=1e-4, rtol=0)
