"""Mixtures whose experts share one tensor each, (experts, in, out): toys, and the ones of transformers."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.surgery import apply
from autoprune.surgery.coverage import coverage

EXAMPLE = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
WIDTH = 16


class Fused(nn.Module):
    """Each token goes to its best experts; `way` is how their products are taken."""

    def __init__(self, way, experts=8, top=2):
        super().__init__()
        self.way, self.num_experts, self.top = way, experts, top
        self.router = nn.Linear(WIDTH, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, WIDTH, 32) / 4)
        self.bias = nn.Parameter(torch.randn(experts, 32) / 4)
        self.down = nn.Parameter(torch.randn(experts, 32, WIDTH) / 4)

    def forward(self, x):
        tokens = x.flatten(0, 1)
        weights, chosen = self.router(tokens).softmax(-1).topk(self.top, -1)
        return getattr(self, self.way)(tokens, weights, chosen).view(x.shape)

    def gates(self, tokens, weights, chosen):
        return torch.zeros(len(tokens), self.num_experts).scatter(1, chosen, weights)

    def bmm(self, tokens, weights, chosen):
        inner = torch.bmm(tokens.expand(self.num_experts, -1, -1), self.up) + self.bias[:, None]
        out = torch.bmm(functional.relu(inner), self.down)
        return (out * self.gates(tokens, weights, chosen).t()[..., None]).sum(0)

    def einsum(self, tokens, weights, chosen):
        inner = functional.relu(torch.einsum("td,edh->teh", tokens, self.up) + self.bias)
        return torch.einsum("teh,ehd,te->td", inner, self.down, self.gates(tokens, weights, chosen))

    def gathered(self, tokens, weights, chosen):
        inner = functional.relu(torch.einsum("td,tkdh->tkh", tokens, self.up[chosen]) + self.bias[chosen])
        return (torch.einsum("tkh,tkhd->tkd", inner, self.down[chosen]) * weights[..., None]).sum(1)

    def looped(self, tokens, weights, chosen):
        out = torch.zeros_like(tokens)
        for expert in range(self.num_experts):
            rows, place = torch.where(chosen == expert)
            inner = functional.relu(tokens[rows] @ self.up[expert] + self.bias[expert])
            out.index_add_(0, rows, inner @ self.down[expert] * weights[rows, place, None])
        return out

    def grouped(self, tokens, weights, chosen):
        order = chosen.flatten().argsort()
        rows, experts = order // self.top, chosen.flatten()[order]
        ends = torch.bincount(experts, minlength=self.num_experts).cumsum(0).to(torch.int32)
        inner = functional.relu(torch._grouped_mm(tokens[rows], self.up, offs=ends) + self.bias[experts])
        out = torch._grouped_mm(inner, self.down, offs=ends) * weights.flatten()[order, None]
        return torch.zeros_like(tokens).index_add(0, rows, out)


WAYS = ("bmm", "einsum", "gathered", "looped", "grouped")


class Net(nn.Module):
    def __init__(self, *mixture):
        super().__init__()
        self.stem, self.norm, self.head = nn.Linear(6, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        self.mixture = Fused(*mixture)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.mixture(self.norm(x))).mean(1))


def others():
    return [torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]


def net(*mixture):
    torch.manual_seed(0)
    return Net(*mixture).eval()


@pytest.mark.parametrize("experts", [2, 8])
@pytest.mark.parametrize("way", WAYS)
def test_inner_widths_are_cut(way, experts):
    model = net(way, experts)
    pruned = autoprune.prune(model, EXAMPLE, {"mixture.up[2]": 0.5, "stem": 0.5})
    assert coverage(model, pruned.traced).params > 0.95
    assert (pruned.model.mixture.up.shape[1:], pruned.model.mixture.down.shape[1:]) == ((8, 16), (16, 8))
    assert [pruned.model(x).shape for x in others()] == [(2, 3)] * 20


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_open_can_be_reordered(way):
    """On inputs that no proof has seen."""
    model = net(way)
    traced = autoprune.trace(model, EXAMPLE)
    orders = {group.name: torch.randperm(group.size) for group in traced.open if group.kind != "layer"}
    reordered = apply(model, traced, orders)
    for x in others():
        torch.testing.assert_close(reordered(x), model(x), rtol=1e-3, atol=1e-4)


def causal(name, experts, top):
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24, "head_dim": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "num_experts": experts, "num_local_experts": experts, "num_experts_per_tok": top, "use_cache": False,
    }  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**sizes)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def ids(seed):
    return {"input_ids": torch.randint(0, 99, (2, 9), generator=torch.Generator().manual_seed(seed))}


@pytest.mark.parametrize("experts", [2, 6])
@pytest.mark.parametrize("name", ["Mixtral", "Qwen3Moe", "GptOss"])
def test_mixtures_of_transformers_are_cut(name, experts):
    model = causal(name, experts, top=2)
    pruned = autoprune.prune(model, ids(99), 0.5)
    assert coverage(model, pruned.traced).params > 0.95
    assert pruned.after["params"].value < 0.3 * pruned.before["params"].value
    for seed in range(20):
        assert pruned.model(**ids(seed)).logits.shape == (2, 9, 99)
