"""Models that are compiled, or that call what compiles itself."""

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import autoprune


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


class Decorated(Net):
    @torch.compile(backend="eager")
    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def compiled_forward():
    model = Net()
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def compiled_in_place():
    model = Net()
    model.compile(backend="eager")
    return model


def compiled_child():
    model = Net()
    model.b = torch.compile(model.b, backend="eager")
    return model


def open_shares(traced):
    return sorted((group.size, round(group.share_params, 6)) for group in traced.open)


@pytest.mark.parametrize("make", [Decorated, compiled_forward, compiled_in_place, compiled_child])
def test_a_compiled_model_is_traced_as_the_eager_one_and_nothing_is_compiled(make):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, x = make().eval(), torch.randn(4, 8)
    pruned = autoprune.prune(model, x, 0.5)
    assert not torch._dynamo.utils.counters["stats"]
    assert open_shares(pruned.traced) == open_shares(autoprune.trace(Net().eval(), x))
    assert pruned.model(x).shape == model(x).shape == (4, 3)
    assert torch._dynamo.utils.counters["stats"]  # both are compiled when they run for the user


class Flexible(nn.Module):
    def __init__(self, *, masked=False, scored=False):
        super().__init__()
        self.masked, self.scored, self.heads = masked, scored, 4
        self.stem, self.out, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        batch, length, _ = x.shape
        query, key, value = (
            each(x).view(batch, length, self.heads, -1).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        mask = create_block_mask(_causal, None, None, length, length, device=x.device) if self.masked else None
        mixed = flex_attention(query, key, value, score_mod=_near if self.scored else None, block_mask=mask)
        return self.head(x + self.out(mixed.transpose(1, 2).reshape(batch, length, -1)))


def _causal(batch, head, query, key):
    return query >= key


def _near(score, batch, head, query, key):
    return score - (query - key).abs()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile", "ignore:Dynamo does not know how")
@pytest.mark.parametrize("options", [{}, {"masked": True}, {"scored": True}])
def test_flexible_attention_is_cut_like_any_other(options):
    model, x = Flexible(**options).eval(), torch.randn(2, 16, 8)
    pruned = autoprune.prune(model, x, 0.5)
    assert {group.kind for group in pruned.traced.open} >= {"head", "head_dim", "neuron"}
    assert pruned.after["params"].value < 0.3 * pruned.before["params"].value
    with torch.no_grad():
        assert pruned.model(x).shape == model(x).shape == (2, 16, 3)


class Refusing(Net):
    """Runs for the user, but in no mode that watches it."""

    attempts = 0

    def forward(self, x):
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            Refusing.attempts += 1
            raise RuntimeError(f"attempt {Refusing.attempts} failed")
        return super().forward(x)


def test_the_first_failure_is_the_one_that_is_told():
    traced = autoprune.trace(Refusing().eval(), torch.randn(4, 8))
    assert "attempt 1 failed" in next(iter(traced.groups)).frozen_reason
