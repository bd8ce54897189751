import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.surgery import trace
from autoprune.surgery.contractions import ContractionWatch, unfused
from autoprune.surgery.find import named_tensors


def watched(model, *inputs):
    seen = []
    watch = ContractionWatch(dict(named_tensors(model)), lambda found, entering: seen.append((found, entering)))
    with torch.no_grad(), unfused(), watch:
        model.eval()(*inputs)
    return watch.found, seen


class Raw(nn.Module):
    """Matrices as they are written by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(*shape)) for shape in ((6, 4), (6, 5), (3, 5)))

    def forward(self, x):
        return (x @ self.a.T) @ self.b @ self.c.t()


def test_matrices_are_found_whichever_way_they_stand():
    found, seen = watched(Raw(), torch.randn(7, 4))
    assert {name: each.dim for name, each in found.items()} == {"a": 1, "b": 0, "c": 1}
    assert [tuple(entering.shape) for _, entering in seen] == [(7, 4), (7, 6), (7, 5)]


def test_layers_biases_and_normalisation_are_recognised():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    found = trace(model, torch.randn(2, 3, 4, 4)).reading
    assert found["0.weight"].stride == (2, 2)
    assert found["0.weight"].absorbed
    assert found["3.weight"].bias == "3.bias"
    assert not found["3.weight"].absorbed


def test_attention_is_seen_as_the_products_that_it_consists_of():
    found, _ = watched(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8))
    assert set(found) == {"self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, x):
        return functional.linear(self.table(x), self.table.weight)


def test_a_weight_that_is_used_otherwise_too_is_left_out():
    assert watched(Tied(), torch.tensor([[1, 2]]))[0] == {}


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, groups=2), nn.Conv1d(4, 4, 3, groups=4)])
def test_kernels_in_groups_are_told_apart(layer):
    x = torch.randn(2, 4, 8, 8) if isinstance(layer, nn.Conv2d) else torch.randn(2, 4, 8)
    assert watched(layer, x)[0]["weight"].groups == layer.groups
    traced = trace(nn.Sequential(layer, nn.ReLU()).eval(), x)
    assert (set(traced.reading), set(traced.grouped)) == (set(), {"0.weight"})


def test_a_transposed_kernel_in_groups_is_left_out():
    assert watched(nn.ConvTranspose2d(4, 6, 3, groups=2), torch.randn(2, 4, 8, 8))[0] == {}


@pytest.mark.parametrize(
    ("layer", "x"),
    [(nn.Conv2d(3, 4, (3, 2)), (2, 3, 6, 6)), (nn.ConvTranspose2d(3, 4, 2), (2, 3, 6, 6)), (nn.Linear(6, 4), (2, 6))],
)
def test_a_weight_is_the_same_after_a_way_as_a_matrix(layer, x):
    (found,) = watched(layer, torch.randn(x))[0].values()
    for taps in (1, *([6] if isinstance(layer, nn.Conv2d) else [])):
        matrix = found.matrix(layer.weight, taps)
        assert matrix.shape[1] == layer.weight.shape[found.dim] * taps
        assert torch.equal(found.restored(matrix, layer.weight.shape, taps), layer.weight)


def test_a_traced_model_knows_its_readers():
    traced = trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(1, 4))
    assert set(traced.reading) == {"0.weight", "2.weight"}
