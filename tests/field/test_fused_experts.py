"""Mixtures whose experts share one tensor each, (experts, in, out): toys, and the ones of transformers."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.errors import UsageError
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


def without(model, gone):
    """The same, with experts that no token is sent to."""
    model.mixture.router.register_forward_hook(lambda _, __, out: out.index_fill(-1, torch.tensor(gone), -torch.inf))
    return model


@pytest.mark.parametrize("way", WAYS)
def test_dropped_experts_are_as_if_no_token_were_sent_to_them(way):
    model = net(way)
    pruned = autoprune.prune(model, EXAMPLE, {"mixture.router": 5})
    (group,) = (group for group in pruned.traced.open if group.kind == "expert")
    assert (group.size, group.floor) == (8, 2)
    assert {(member.tensor, member.dim) for member in group.members} == {
        (f"mixture.{name}", 0) for name in ("router.weight", "up", "bias", "down")
    }
    assert (pruned.model.mixture.num_experts, len(pruned.model.mixture.up)) == (5, 5)
    masked = without(model, [each for each in range(8) if each not in pruned.slices["mixture.router"]])
    for x in others():
        torch.testing.assert_close(pruned.model(x), masked(x), rtol=1e-4, atol=1e-5)


def test_no_fewer_experts_stay_than_a_token_is_sent_to():
    with pytest.raises(UsageError, match="between 3 and 8 slices"):
        autoprune.prune(net("bmm", 8, 3), EXAMPLE, {"mixture.router": 2})
    assert autoprune.prune(net("bmm", 8, 3), EXAMPLE, 0.01).plan.kept["mixture.router"] == 3


def test_a_number_that_is_as_large_as_that_of_the_experts_stays():
    class Tempered(Fused):
        def __init__(self):
            super().__init__("gathered")
            self.temperature = self.expert_capacity = 8

        def forward(self, x):
            tokens = x.flatten(0, 1)
            weights, chosen = (self.router(tokens) / self.temperature).softmax(-1).topk(self.top, -1)
            return self.gathered(tokens, weights, chosen).view(x.shape)

    model = net("gathered")
    model.mixture = Tempered()
    cut = autoprune.prune(model, EXAMPLE, {"mixture.router": 4}).model.mixture
    assert (cut.num_experts, cut.temperature, cut.expert_capacity) == (4, 8, 8)


class Ranked(Fused):
    """What an expert counts is a number in the code, by its place."""

    def __init__(self, strength):
        super().__init__("gathered")
        self.strength = strength

    def forward(self, x):
        tokens = x.flatten(0, 1)
        weights, chosen = self.router(tokens).softmax(-1).topk(self.top, -1)
        return self.gathered(tokens, weights * (1 + self.strength * chosen.type_as(weights)), chosen).view(x.shape)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_experts_that_differ_a_little_by_their_place_stay_in_any_precision(kind):
    model = net("gathered")
    model.mixture = Ranked(0.02)
    traced = autoprune.trace(model.to(kind), EXAMPLE.to(kind))
    assert not [group for group in traced.open if group.kind == "expert"]
    assert [group for group in traced.groups if group.kind == "expert"]


def test_experts_that_differ_by_their_place_stay_where_results_have_no_numbers():
    model = net("gathered")
    model.mixture = Ranked(0.5)
    model.head.bias.data.fill_(torch.nan)
    assert not [group for group in autoprune.trace(model, EXAMPLE).open if group.kind == "expert"]


def test_a_mixture_that_returns_its_scores_keeps_its_experts():
    class Telling(Net):
        def forward(self, x):
            return super().forward(x), self.mixture.router(self.norm(self.stem(x)))

    traced = autoprune.trace(Telling("bmm").eval(), EXAMPLE)
    assert not [group for group in traced.open if group.kind == "expert"]
    assert "mixture.up[2]" in {group.name for group in traced.open}


def test_experts_without_numbers_stay():
    """A guess that nothing can prove."""
    traced = autoprune.trace(net("gathered").to("meta"), EXAMPLE)
    assert {group.kind: bool(group.frozen_reason) for group in traced.groups}["expert"]
    assert "mixture.up[2]" in {group.name for group in traced.open}


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
    kept = {name: len(slices) for name, slices in pruned.slices.items() if name.endswith(("gate", "router"))}
    assert set(kept.values()) == ({3} if experts == 6 else set())
    mixture = next(each for each in pruned.model.modules() if hasattr(each, "gate_up_proj"))
    assert mixture.num_experts == len(mixture.gate_up_proj) == max(experts // 2, 2)


def test_a_saved_mixture_is_rebuilt(tmp_path):
    pruned = autoprune.prune(causal("Mixtral", 6, top=2), ids(99), 0.5)
    pruned.save(tmp_path)
    again = autoprune.load(tmp_path, model=causal("Mixtral", 6, top=2), example_inputs=ids(99))
    torch.testing.assert_close(again(**ids(1)).logits, pruned.model(**ids(1)).logits)
