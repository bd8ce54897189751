"""Models inside of wrappers, and modules that look at their children when they are restored."""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import autoprune


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


@pytest.fixture
def group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Subclassed(nn.DataParallel):
    """As libraries make of them."""


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = [
    nn.DataParallel,
    DistributedDataParallel,
    Subclassed,
    compiled,
    lambda model: compiled(nn.DataParallel(model)),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_what_a_wrapper_runs_is_cut(wrap, group, tmp_path):
    dense, x = Net().eval(), torch.randn(4, 8)
    wrapped = wrap(dense)
    pruned, expected = autoprune.prune(wrapped, x, 0.5), autoprune.prune(dense, x, 0.5)
    assert type(pruned.model) is Net
    assert pruned.plan == expected.plan
    assert torch.equal(pruned.model(x), expected.model(x))
    assert any("wrapped again" in note for note in pruned.traced.notes)
    pruned.save(tmp_path / "saved")
    loaded = autoprune.load(tmp_path / "saved", model=wrapped, example_inputs=x)
    assert torch.equal(loaded(x), pruned.model(x))
    assert wrap(pruned.model)(x).shape == wrapped(x).shape


class Both(nn.Module):
    """Two models, each wrapped for itself."""

    def __init__(self, wrap):
        super().__init__()
        self.first, self.second = wrap(nn.Linear(8, 16)), wrap(nn.Linear(16, 3))
        self.parts = [self.first, self.second]

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("wrap", [nn.DataParallel, DistributedDataParallel, compiled])
def test_wrappers_inside_of_a_model_are_taken_off(wrap, group):
    model, x = Both(wrap).eval(), torch.randn(4, 8)
    pruned = autoprune.prune(model, x, {"first": 4})
    assert type(pruned.model.first) is nn.Linear
    assert pruned.model.first.weight.shape == (4, 8)
    assert pruned.model(x).shape == model(x).shape


def test_a_task_of_a_wrapped_model(group):
    batches = [(torch.randn(4, 8), torch.zeros(4, dtype=torch.long))]
    dense = Net()
    task = autoprune.Task(
        name="wrapped",
        model=DistributedDataParallel(dense),
        example_inputs=batches[0][0],
        splits=dict.fromkeys(("calibration", "search", "validation", "test"), batches),
        evaluate=lambda model, split: 1.0,
    )
    assert task.model is dense


class Looking(Net):
    """Works out again what depends on its children, as ensembles and adapters do."""

    def __setstate__(self, state):
        super().__setstate__(state)
        self.weights = sum(parameter.numel() for parameter in self.parameters())
        self.kinds = [type(child).__name__ for child in self.children() if child.weight is not None]


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.again = Looking(), nn.Sequential(nn.ReLU(), Looking())
        self.again[1].a = nn.Linear(3, 16)

    def __setstate__(self, state):
        super().__setstate__(state)
        self.trainable = [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def forward(self, x):
        return self.again(self.net(x))


@pytest.mark.parametrize("kind", [Looking, Counting])
def test_a_module_that_looks_at_its_children_when_restored(kind):
    model, x = kind().eval(), torch.randn(4, 8)
    assert copy.deepcopy(model)(x).shape == (4, 3)
    pruned = autoprune.prune(model, x, 0.5)
    assert pruned.model(x).shape == (4, 3)
    assert pruned.after["params"].value < 0.5 * pruned.before["params"].value
    if kind is Looking:
        assert pruned.model.weights == pruned.after["params"].value
