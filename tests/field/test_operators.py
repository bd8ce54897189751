"""Models around operators that few models have: the width that passes through them is cut."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.errors import SurgeryError
from autoprune.surgery.coverage import coverage


class Between(nn.Module):
    """Features on their way through an operator."""

    def __init__(self, function, width=32):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.function = function

    def forward(self, x, *others):
        x = self.second(self.function(torch.relu(self.first(x)), *others))
        return self.last(torch.relu(x))


def share_left(model, *inputs):
    """The share of parameters after every group was halved; the model runs, and gives what it gave a shape of."""
    model = model.eval()
    cut = autoprune.prune(model, inputs, 0.5).model
    assert cut(*inputs).shape == model(*inputs).shape
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (cut, model)]
    return sizes[0] / sizes[1]


def covered(model, *inputs):
    return coverage(model, autoprune.trace(model.eval(), inputs)).params


def windows(h):
    batch, places, width = h.shape
    steps = h.stride()
    return h.as_strided((batch, places - 3, 4, width), (steps[0], steps[1], steps[1], steps[2])).mean(2)


def halves(split, dim):
    def gated(h):
        left, right = split(h, 2)
        return torch.cat([torch.sigmoid(left) * right, right], dim)

    return gated


def assigned(h):
    h = h.transpose(1, 2).clone()
    h[:, :, torch.tensor([1, 3])] = h[:, :, torch.tensor([0, 2])] * 2
    return h.transpose(1, 2)


def solved(h):
    scores = torch.tril(h @ h.transpose(1, 2) / 16, -1) + torch.eye(h.shape[1])
    return torch.linalg.solve_triangular(scores, h, upper=False)


def jagged(h):
    rows = torch.nested.as_nested_tensor([h[0, :4], h[1]], layout=torch.jagged)
    return torch.nested.to_padded_tensor(torch.relu(rows * 2), 0.0)


MASK = torch.tensor([[True, False, True, True, False, True]] * 2)
FUNCTIONS = {
    "windows by strides": windows,
    "identity matrix": lambda h: h @ (torch.eye(h.shape[-1]) * 2),
    "hsplit": lambda h: halves(torch.hsplit, 1)(h.flatten(0, 1)).view(h.shape),
    "dsplit": halves(torch.dsplit, 2),
    "split at places": lambda h: torch.cat(torch.tensor_split(h, [2], 1)[::-1], 1),
    "assigned behind full slices": assigned,
    "triangular solve": solved,
    "masked select": lambda h: torch.masked_select(h, MASK.unsqueeze(-1)).view(-1, h.shape[-1]),
    "segments": lambda h: torch.segment_reduce(h[0], "mean", lengths=torch.tensor([2, 3, 1])),
    "mode": lambda h: h + torch.mode(h, -1, keepdim=True)[0],
    "nanmedian": lambda h: h + h.nanmedian(),
    "k-th value": lambda h: h.kthvalue(2, 1)[0],
    "searchsorted": lambda h: h + torch.searchsorted(torch.linspace(-1, 1, 5), h),
    "histogram": lambda h: h * torch.histc(h, 4).mean(),
    "isin": lambda h: h * (1 + torch.isin(h.round(), torch.tensor([0.0, 1.0])).float()),
    "unique": lambda h: h + torch.unique(h.round()).mean(),
    "rows of unlike lengths": jagged,
    "unpooling": lambda h: functional.max_unpool1d(
        *functional.max_pool1d(h.transpose(1, 2), 2, return_indices=True), 2
    ).transpose(1, 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_passes_through_a_rare_operator_is_cut(name):
    assert share_left(Between(FUNCTIONS[name]), torch.randn(2, 6, 8)) < 0.36


class Graph(nn.Module):
    """Two layers over the neighbours of each node."""

    def __init__(self, matrix):
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 3)
        self.register_buffer("matrix", matrix)

    def forward(self, x):
        x = torch.relu(torch.sparse.mm(self.matrix, self.first(x)))
        return torch.sparse.mm(self.matrix, self.second(x))


class Weighed(Graph):
    """Neighbours weighed by what they hold."""

    def forward(self, x):
        x, places = self.first(x), self.matrix.coalesce().indices()
        scores = torch.sparse_coo_tensor(places, (x[places[0]] * x[places[1]]).sum(-1), self.matrix.shape)
        return self.second(torch.relu(torch.sparse.mm(torch.sparse.softmax(scores, 1), x)))


NEIGHBOURS = (torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()


@pytest.mark.parametrize(
    "model",
    [Graph(NEIGHBOURS.to_sparse()), Graph(NEIGHBOURS.to_sparse_csr()), Weighed(NEIGHBOURS.to_sparse())],
    ids=["coordinates", "rows", "attention"],
)
def test_sparse_graph_networks_are_cut(model):
    x = torch.randn(6, 8)
    assert covered(model, x) > 0.95
    assert share_left(model, x) < 0.55


class Seeing(nn.Module):
    """Embedded words, at some places of which features of an image stand."""

    def __init__(self, spread):
        super().__init__()
        self.words, self.image, self.project = nn.Embedding(20, 32), nn.Linear(12, 48), nn.Linear(48, 32)
        self.inner, self.outer, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 20)
        self.spread = spread

    def forward(self, ids, image):
        words, seen = self.words(ids), self.project(torch.relu(self.image(image)))
        words = words.masked_scatter(self.spread(ids == 7, words), seen)
        return self.head(words + self.outer(torch.relu(self.inner(words))))


IDS = torch.tensor([[1, 7, 7, 2, 3, 4], [5, 7, 7, 6, 0, 1]])


@pytest.mark.parametrize(
    "spread",
    [
        lambda mask, words: mask.unsqueeze(-1).expand_as(words),
        lambda mask, words: (mask.unsqueeze(-1).expand_as(words).float() > 0.5).clone(),
    ],
    ids=["expanded", "copied"],
)
def test_the_width_of_a_vision_language_model_is_cut(spread):
    model, inputs = Seeing(spread), (IDS, torch.randn(2, 2, 12))
    assert covered(model, *inputs) > 0.95
    assert share_left(model, *inputs) < 0.4


def test_a_mask_that_tells_channels_apart_keeps_the_width():
    def third(mask, words):
        spread = mask.unsqueeze(-1).repeat(1, 1, words.shape[-1])
        spread[0, :, 0] = False
        return spread

    groups = autoprune.trace(Seeing(third).eval(), (IDS, torch.randn(2, 2, 12))).open
    assert "words.weight" not in {member.tensor for group in groups for member in group.members}


class Decomposed(nn.Module):
    """A weight by direction and length, the direction moved by two small factors (Liu et al. 2024)."""

    def __init__(self):
        super().__init__()
        self.stem, self.base, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.down, self.up = nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
        self.length = nn.Parameter(torch.rand(32) + 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        moved = self.base.weight + self.up(self.down(torch.eye(self.down.in_features))).T
        scale = self.length / torch.linalg.norm(moved, dim=1)
        return self.head(torch.relu(scale * (x @ self.base.weight.T + self.up(self.down(x))) + self.base.bias))


def test_factors_that_are_multiplied_out_by_an_identity_are_cut():
    assert covered(Decomposed(), torch.randn(2, 8)) > 0.95


class Unpooling(nn.Module):
    """Down and up again by the places of the largest values (Badrinarayanan et al. 2015)."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        x, places = functional.max_pool2d(torch.relu(self.down(x)), 2, return_indices=True)
        return self.head(torch.relu(self.up(functional.max_unpool2d(x, places, 2))))


def test_unpooled_channels_are_cut():
    assert share_left(Unpooling(), torch.randn(2, 3, 8, 8)) < 0.36


class Rows(nn.Module):
    """Rows of unlike lengths from the first layer to the last."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm, self.last = (
            nn.Linear(8, 32),
            nn.Linear(32, 24),
            nn.LayerNorm(24),
            nn.Linear(24, 3),
        )

    def forward(self, rows):
        return torch.nested.to_padded_tensor(self.last(self.norm(self.second(torch.relu(self.first(rows))))), 0.0)


class Reshaped(Rows):
    """What opaque rows cannot be."""

    def forward(self, rows):
        x = self.first(rows)
        return super().forward(x.reshape(*x.shape[:-1], 4, x.shape[-1] // 4).flatten(-2)[..., : rows.shape[-1]])


def rows_of(layout):
    return torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)], layout=layout)


@pytest.mark.parametrize(("layout", "names"), [(torch.jagged, {"first", "second"}), (torch.strided, set())])
def test_a_model_that_is_given_rows_of_unlike_lengths(layout, names):
    assert {group.name for group in autoprune.trace(Rows().eval(), rows_of(layout)).open} == names


def test_a_model_that_does_not_run_on_rows_of_unlike_lengths_is_told_so():
    with pytest.raises(SurgeryError, match="Reshaped to run on its example inputs.*for inputs of shape rows of unlike"):
        autoprune.trace(Reshaped().eval(), rows_of(torch.strided))


def test_attention_over_rows_of_unlike_lengths_is_left_whole():
    def attention(h):
        rows = torch.nested.as_nested_tensor([h[0, :4], h[1]], layout=torch.jagged)
        heads = rows.unflatten(-1, [4, h.shape[-1] // 4]).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(heads, heads, heads)
        return torch.nested.to_padded_tensor(mixed.transpose(1, 2).flatten(-2), 0.0)

    assert 0.5 < share_left(Between(attention), torch.randn(2, 6, 8)) < 0.7
