"""Modules that show or say less than they do."""

import copy

import einops
import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.errors import SurgeryError


class Fed(nn.Module):
    """Attention whose query comes from elsewhere than a stream that it is added to."""

    def __init__(self, name):
        super().__init__()
        self.fed = name
        setattr(self, name, nn.Linear(6, 32))
        self.attention, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 3)

    def forward(self, x):
        x = getattr(self, self.fed)(x)
        return self.head(self.attention(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("name", ["e", "encoder", "backbone"])
def test_the_width_of_a_query_is_cut_on_its_own(name):
    model, x = Fed(name).eval(), torch.randn(2, 5, 6)
    assert name in {group.name for group in autoprune.trace(model, x).open}
    cut = autoprune.prune(model, x, {name: 8}).model
    assert cut(x).shape == (2, 5, 3)
    assert cut.attention.embed_dim == 8


class Pooled(nn.Module):
    """Attention over places by the mean and the largest of all channels (Woo et al. 2018)."""

    def __init__(self, tell=False):
        super().__init__()
        self.stem, self.gate, self.head = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(2, 1, 3, padding=1),
            nn.Linear(16, 3),
        )
        self.tell = tell

    def forward(self, x):
        x = functional.relu(self.stem(x))
        largest, which = torch.max(x, 1, keepdim=True)
        gate = torch.sigmoid(self.gate(torch.cat([x.mean(1, keepdim=True), largest], 1)))
        scores = self.head((x * gate).mean((2, 3)))
        return (scores, which) if self.tell else scores


def test_argmax_over_channels_freezes_and_max_does_not():
    x = torch.randn(2, 3, 8, 8)
    assert "stem" in {group.name for group in autoprune.trace(Pooled().eval(), x).open}
    assert "stem" not in {group.name for group in autoprune.trace(Pooled(tell=True).eval(), x).open}


def test_weights_under_spectral_norm_are_cut():
    norm = nn.utils.spectral_norm
    model = nn.Sequential(
        norm(nn.Conv2d(3, 16, 3)), nn.ReLU(), norm(nn.Conv2d(16, 8, 3)), nn.Flatten(), norm(nn.Linear(128, 1))
    )
    x = torch.randn(1, 3, 8, 8)
    pruned = autoprune.prune(model.eval(), x, 0.5)
    assert pruned.model[0].out_channels == 8
    assert pruned.model(x).shape == (1, 1)


class Stubborn(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("not me")


def test_module_that_refuses_copies_is_rebuilt():
    model = nn.Sequential(Stubborn(8, 16), nn.ReLU(), nn.Linear(16, 2))
    pruned = autoprune.prune(model.eval(), torch.randn(2, 8), 0.5)
    assert pruned.model[0] is not model[0]
    assert (type(model[0].in_features), model[0].out_features, pruned.model[0].out_features) == (int, 16, 8)


class Tied(nn.Module):
    """Weights that are read along one dimension and then along the other."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.head = nn.Linear(10, 16), nn.Linear(16, 8), nn.Linear(10, 3)

    def forward(self, x):
        code = functional.relu(self.narrow(functional.relu(self.wide(x))))
        return self.head(
            functional.linear(functional.relu(functional.linear(code, self.narrow.weight.t())), self.wide.weight.t())
        )


@pytest.mark.parametrize("criterion", ["hessian", "wanda", "taylor"])
def test_weights_that_are_read_both_ways_are_ranked_and_left_unrepaired(criterion):
    x, y = torch.randn(200, 10), torch.randint(0, 3, (200,))
    task = autoprune.Classification(Tied(), data=(x, y), example_inputs=(x[:4],))
    assert "wide.weight" not in autoprune.trace(task.model, x[:4]).reading
    assert autoprune.prune(task.model, x[:4], 0.5, criterion=criterion, task=task).model(x).shape == (200, 3)


def test_what_cleans_up_when_it_goes_is_not_copied():
    closed = []

    class Open:
        def __init__(self):
            self.descriptor = 16

        def __del__(self):
            closed.append(self.descriptor)

    class Closing(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 16), nn.Linear(16, 3))
            self.file = Open()

    model = Closing().eval()
    autoprune.trace(model, torch.randn(2, 8))
    assert not closed


def test_what_cannot_be_cut_is_told_apart_from_what_does_not_run(monkeypatch):
    def refuses(*_arguments, **_named):
        raise ValueError("no")

    monkeypatch.setattr("autoprune.surgery.verify.apply", refuses)
    traced = autoprune.trace(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)).eval(), torch.randn(2, 8))
    assert {group.frozen_reason for group in traced.groups} >= {"it cannot be cut (ValueError: no)"}


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Scripted(nn.Module):
    """Functions and modules that were compiled, beside others."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 16), nn.Linear(16, 12), nn.Linear(12, 3)
        self.activation = torch.jit.script(quick_gelu)
        self.compiled = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))

    def forward(self, x):
        return self.compiled(self.last(self.second(self.activation(self.first(x)))))


def test_what_is_not_scripted_is_cut_beside_what_is():
    model, x = Scripted().eval(), torch.randn(2, 8)
    traced = autoprune.trace(model, x)
    assert {group.name for group in traced.open} == {"first", "second"}
    assert {group.frozen_reason for group in traced.groups if group.name.startswith("compiled")} == {
        "in a scripted module, which stays as it is: pass the model as it was before `torch.jit`"
    }
    assert autoprune.prune(model, x, {"first": 8, "second": 4}).model(x).shape == (2, 3)


@pytest.mark.parametrize("compiled", [torch.jit.script, lambda model: torch.jit.trace(model, torch.randn(2, 8))])
def test_a_model_that_is_scripted_as_a_whole_is_refused_with_the_reason(compiled):
    model = compiled(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)).eval())
    with pytest.raises(SurgeryError, match="pass the model as it was before `torch.jit`"):
        autoprune.prune(model, torch.randn(2, 8))


class Forces(nn.Module):
    """An energy, and its gradient by what goes in (SchNet, Schuett et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 16), nn.Linear(16, 1)

    def forward(self, places):
        with torch.enable_grad():
            places = places.detach().requires_grad_(True)
            energy = self.last(torch.tanh(self.first(places))).sum()
            return energy, -torch.autograd.grad(energy, places)[0]


def test_a_model_that_differentiates_itself_is_cut():
    cut = autoprune.prune(Forces().eval(), torch.randn(5, 3), {"first": 8}).model
    assert cut(torch.randn(5, 3))[1].shape == (5, 3)


class Rearranging(nn.Module):
    """Attention by a library that remembers which sizes led to which."""

    def __init__(self):
        super().__init__()
        self.heads, self.inputs, self.last = 4, nn.Linear(8, 96), nn.Linear(32, 3)

    def forward(self, x):
        q, k, v = einops.rearrange(self.inputs(x), "b n (t h d) -> t b h n d", t=3, h=self.heads)
        out = functional.scaled_dot_product_attention(q, k, v)
        return self.last(einops.rearrange(out, "b h n d -> b n (h d)"))


def test_what_ran_before_is_traced_as_if_it_had_not():
    model, x = Rearranging().eval(), torch.randn(2, 5, 8)
    model(x)
    first, second = autoprune.trace(model, x), autoprune.trace(model, x)
    assert {group.kind for group in first.open} == {"head", "head_dim"}
    assert first.groups == second.groups


class Bilinear(nn.Module):
    """Two streams that meet in a product."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(8, 12), nn.Linear(8, 16)
        self.both, self.last = nn.Bilinear(12, 16, 10), nn.Linear(10, 3)

    def forward(self, x):
        return self.last(self.both(self.left(x), self.right(x)))


class Prototypes(nn.Module):
    """Distances to what stands for each class (Snell et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.first, self.features, self.prototypes = (
            nn.Linear(8, 16),
            nn.Linear(16, 12),
            nn.Parameter(torch.randn(5, 12)),
        )

    def forward(self, x):
        return -torch.cdist(self.features(torch.relu(self.first(x))), self.prototypes)


class Packed(nn.Module):
    """Sequences of different lengths."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn, self.last = nn.Embedding(20, 16), nn.LSTM(16, 24, batch_first=True), nn.Linear(24, 3)

    def forward(self, tokens, lengths):
        steps = nn.utils.rnn.pack_padded_sequence(self.table(tokens), lengths, batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(steps)[0], batch_first=True)
        return self.last(out.mean(1))


@pytest.mark.parametrize(
    ("model", "inputs", "opened"),
    [
        (Bilinear(), (torch.randn(2, 8),), {"left", "right", "both"}),
        (Prototypes(), (torch.randn(30, 8),), {"first", "features"}),
        (Packed(), (torch.randint(0, 20, (2, 5)), torch.tensor([5, 3])), {"table.weight[1]", "rnn"}),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else None,
)
def test_widths_pass_through(model, inputs, opened):
    model.eval()
    assert {group.name for group in autoprune.trace(model, inputs).open} == opened
    cut = autoprune.prune(model, inputs, dict.fromkeys(opened, 0.5)).model
    assert cut(*inputs).shape == model(*inputs).shape


def test_operations_of_a_bilinear_layer_shrink_with_it():
    from autoprune.measure.counts import counts

    x = torch.randn(2, 8)
    whole = Bilinear().eval()
    half = autoprune.prune(whole, x, 0.5).model
    spent = [counts(model, x)["flops"].value - 2 * 2 * weights for model, weights in ((whole, 254), (half, 127))]
    assert spent == [3 * 2 * 10 * 12 * 16, 3 * 2 * 5 * 6 * 8]


class Chaotic(nn.Module):
    """Doubles the rounding of its sums again and again, as very deep networks do."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, x):
        x = torch.sigmoid(self.head(torch.relu(self.stem(x))))
        for _ in range(18):
            x = 3.99 * x * (1 - x)
        return x


def test_rounding_that_a_model_blows_up_freezes_nothing():
    model, x = Chaotic().eval(), torch.randn(64, 8)
    assert (copy.deepcopy(model).double()(x.double()) - model(x)).abs().max() > 0.01, "the model is too tame"
    assert {group.name for group in autoprune.trace(model, x).open} == {"stem"}
    assert all(tensor.dtype is torch.float32 for tensor in model.state_dict().values())
