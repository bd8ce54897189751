import onnxruntime
import pytest
import torch
from torch import nn

from autoprune.bench.artifact import deviation
from autoprune.core.plan import Plan
from autoprune.errors import DeviceError
from autoprune.exporters.onnx import create
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.example import Example, arrays


class Attention(nn.Module):
    """Sizes stand in its graph as numbers: heads, their dimension, its root, a split."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads, self.dim = heads, 8
        self.embed = nn.Linear(12, width)
        self.qkv = nn.Linear(width, 3 * heads * self.dim)
        self.out = nn.Linear(heads * self.dim, width)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.embed(x)
        b, n, _ = x.shape
        q, k, v = (t.view(b, n, self.heads, self.dim).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        a = (q @ k.transpose(-2, -1) * self.dim**-0.5).softmax(-1)
        x = x + self.out((a @ v).transpose(1, 2).reshape(b, n, self.heads * self.dim))
        return self.head(x.mean(1))


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.b = nn.Conv2d(16, 24, 3, bias=False)
        self.head = nn.Linear(24 * 16, 4)

    def forward(self, x):
        return self.head(torch.relu(self.b(torch.relu(self.bn(self.a(x))))).flatten(1))


CASES = {"attention": (Attention, (2, 6, 12)), "convolutions": (Convolutions, (2, 3, 8, 8))}


def run(content, inputs):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "attention" else ()) for name in CASES]
)
def test_derived_graphs_compute_what_the_cut_model_does(name):
    torch.manual_seed(0)
    made, shape = CASES[name]
    model, example = made().eval(), torch.randn(shape)
    traced = trace(model, (example,))
    exporter = create(model, Example.of(example), {group.name: group.size for group in traced})
    generator = torch.Generator().manual_seed(1)
    right = []
    for _ in range(10):
        counts = {}
        for group in traced.open:
            if group.kind != "layer" and not group.tie:
                counts[group.name] = (
                    max(int(torch.randint(1, group.steps + 1, (1,), generator=generator)), 1) * group.step
                )
        plan = Plan.of(counts)
        cut = apply(model, traced, kept_slices(traced, {g.name: torch.arange(g.size) for g in traced}, plan)).eval()
        expected = arrays(cut(example))
        content = exporter.derived(cut, counts)
        try:
            right.append(content is not None and deviation(run(content, exporter.inputs()), expected) < 1e-4)
        except Exception:  # a graph whose sizes contradict each other
            right.append(False)
        if not right[-1]:
            anew = exporter.anew(cut, counts)
            assert deviation(run(anew, exporter.inputs()), expected) < 1e-4
    assert all(right[5:])


def test_what_torch_cannot_express_is_refused():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(DeviceError, match=r"torch\.onnx\.export"):
        create(Odd(), Example.of(torch.ones(2)), {})


@pytest.mark.slow
def test_a_model_without_one_of_its_layers_is_exported_anew_once():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(2))

        def forward(self, x):
            for block in self.blocks:
                x = x + block(x)
            return x

    model, example = Residual().eval(), torch.randn(2, 8)
    traced = trace(model, (example,))
    layer = next(group for group in traced.open if group.kind == "layer")
    exporter = create(model, Example.of(example), {group.name: group.size for group in traced})
    other = next(group for group in traced.open if group.kind == "neuron" and layer.name not in group.name)
    cut = apply(model, traced, {layer.name: torch.arange(0)}).eval()
    assert exporter.derived(cut, {layer.name: 0}) is None
    expected = arrays(cut(example))
    assert deviation(run(exporter.anew(cut, {layer.name: 0}), exporter.inputs()), expected) < 1e-5
    narrower = apply(model, traced, {layer.name: torch.arange(0), other.name: torch.arange(5)}).eval()
    derived = exporter.derived(narrower, {layer.name: 0, other.name: 5})
    assert deviation(run(derived, exporter.inputs()), arrays(narrower(example))) < 1e-5
    assert exporter.derived(model, {}) is not None
