"""Models of which the example inputs reach a part only: experts without a token, layers that are skipped, branches."""

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import SurgeryError
from autoprune.surgery import apply
from autoprune.surgery.coverage import coverage

WIDTH, FEW = 16, torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(1))


class Expert(nn.Module):
    def __init__(self, inner=32):
        super().__init__()
        self.heads, self.up, self.down = 4, nn.Linear(WIDTH, inner), nn.Linear(inner, WIDTH)

    def forward(self, x):
        inner = self.up(x).view(len(x), self.heads, -1)
        return self.down(torch.relu(inner).flatten(1))


class Mixture(nn.Module):
    """Each token goes to the two experts that its gate likes best; an expert without a token is not called."""

    def __init__(self, experts):
        super().__init__()
        self.gate, self.experts = nn.Linear(WIDTH, len(experts)), nn.ModuleList(experts)

    def forward(self, x):
        tokens = x.flatten(0, 1)
        weights, chosen = self.gate(tokens).softmax(-1).topk(2, -1)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, place = torch.where(chosen == number)
            if len(rows):
                out.index_add_(0, rows, expert(tokens[rows]) * weights[rows, place, None])
        return out.view(x.shape)


class Net(nn.Module):
    def __init__(self, *mixtures):
        super().__init__()
        self.stem, self.norm, self.head = nn.Linear(6, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        self.mixtures = nn.ModuleList(mixtures)

    def forward(self, x):
        x = self.stem(x)
        for mixture in self.mixtures:
            x = x + mixture(self.norm(x))
        return self.head(x.mean(1))


def others():
    return [torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]


def made(seed, *inner):
    torch.manual_seed(seed)
    return Net(*(Mixture([Expert(*sizes) for sizes in inner or [()] * 16]) for _ in range(2))).eval()


@pytest.mark.parametrize("seed", range(3))
def test_experts_without_a_token_are_cut_like_the_others(seed):
    model = made(seed)
    pruned = autoprune.prune(model, FEW, 0.5)
    assert coverage(model, pruned.traced).params > 0.95
    assert pruned.after["params"].value < 0.3 * pruned.before["params"].value
    assert [pruned.model(x).shape for x in others()] == [(2, 3)] * 20
    assert any("cut like those beside them" in note for note in pruned.traced.notes)


def test_what_was_labelled_by_a_sibling_is_labelled_right():
    """Reordering the slices of every group changes nothing, also on inputs that no proof has seen."""
    model = made(0)
    traced = autoprune.trace(model, FEW)
    orders = {group.name: torch.randperm(group.size) for group in traced.open if group.kind != "layer"}
    reordered = apply(model, traced, orders)
    assert any(name.startswith("mixtures.1.experts.") for name in orders)
    for x in others():
        torch.testing.assert_close(reordered(x), model(x), rtol=1e-3, atol=1e-4)


def test_each_expert_keeps_a_width_of_its_own():
    slices = autoprune.prune(
        made(0), FEW, {f"mixtures.0.experts.{number}.up#2": number + 1 for number in range(8)}
    ).slices
    assert [len(slices[f"mixtures.0.experts.{number}.up#2"]) for number in range(7)] == list(range(1, 8))


def test_experts_unlike_those_that_were_reached_keep_what_they_may_read():
    pruned = autoprune.prune(made(0, *((8 * size,) for size in range(1, 17))), FEW, 0.5)
    assert pruned.slices
    assert [pruned.model(x).shape for x in others()] == [(2, 3)] * 20


class Direct(Mixture):
    """The experts' weights are read, and the experts never called."""

    def forward(self, x):
        scores, chosen = self.gate(x.flatten(0, 1)).max(-1)
        rows = [self.experts[n].down(torch.relu(nn.functional.linear(row, self.experts[n].up.weight)))
                for row, n in zip(x.flatten(0, 1), chosen.tolist(), strict=True)]  # fmt: skip
        return (torch.stack(rows) * scores[:, None]).view(x.shape)


def test_experts_whose_weights_are_read_directly():
    torch.manual_seed(0)
    model = Net(Direct([Expert() for _ in range(8)])).eval()
    pruned = autoprune.prune(model, FEW, 0.5)
    assert [pruned.model(x).shape for x in others()] == [(2, 3)] * 20


class Deep(nn.Module):
    """A sequence of layers, of which as many run as the input asks for."""

    def __init__(self):
        super().__init__()
        self.stem, self.layers, self.head = nn.Linear(6, WIDTH), nn.ModuleList(), nn.Linear(WIDTH, 3)
        self.layers.extend(nn.Linear(WIDTH, WIDTH) for _ in range(6))

    def forward(self, x):
        depth = 6 if x.shape[1] > 3 else 1
        x = self.stem(x)
        for layer in self.layers[:depth]:
            x = torch.relu(layer(x))
        return self.head(x.mean(1))


def test_layers_that_follow_the_last_one_that_was_reached():
    model = Deep().eval()
    pruned = autoprune.prune(model, FEW, 0.5)
    assert pruned.model.layers[5].in_features == pruned.model.layers[5].out_features == 8
    assert [pruned.model(x).shape for x in others()] == [(2, 3)] * 20


class Tasks(nn.Module):
    """A trunk with a head for each task; the trunk's second layer is in the same list, or in another."""

    def __init__(self, mixed=False):
        super().__init__()
        self.stem, self.mixed = nn.Linear(6, WIDTH), mixed
        self.heads = nn.ModuleList([nn.Linear(32, 3), nn.Linear(32, 7), nn.Linear(WIDTH, 5)])
        self.trunk = nn.Sequential(nn.Linear(WIDTH, 24), nn.ReLU(), nn.Linear(24, 32))
        if mixed:
            self.heads.append(nn.Linear(WIDTH, WIDTH))

    def forward(self, x, task=0):
        x = torch.relu(self.stem(x.mean(1)))
        if self.mixed:
            x = torch.relu(self.heads[3](x))
        return self.heads[task](x if task == 2 else torch.relu(self.trunk(x)))


@pytest.mark.parametrize("mixed", [False, True])
def test_heads_that_no_example_asks_for(mixed):
    torch.manual_seed(0)
    model = Tasks(mixed).eval()
    traced = autoprune.trace(model, FEW)
    assert "trunk.0" in {group.name for group in traced.open}
    pruned = autoprune.prune(model, FEW, 0.5).model
    orders = {group.name: torch.randperm(group.size) for group in traced.open if group.kind != "layer"}
    reordered = apply(model, traced, orders)
    for task, classes in enumerate((3, 7, 5)):
        assert pruned(FEW, task).shape == (1, classes)
        torch.testing.assert_close(reordered(FEW, task), model(FEW, task))


def test_heads_that_read_the_same_do_not_keep_it_whole():
    model = Tasks().eval()
    del model.heads[2]
    pruned = autoprune.prune(model, FEW, 0.5)
    assert coverage(model, pruned.traced).params > 0.95
    assert pruned.model.heads[1].in_features == 16
    assert pruned.model(FEW, 1).shape == (1, 7)


class Fickle(nn.Module):
    """Which branch runs is decided by what cutting changes."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 3)
        nn.init.ones_(self.stem.weight)
        nn.init.zeros_(self.stem.bias)

    def forward(self, x):
        width = torch.count_nonzero(self.stem.weight)
        return (self.first if width > 3 * 6 else self.second)(self.stem(x)).mean(1)


def test_what_goes_wrong_is_said_in_one_line():
    model = Fickle().eval()
    assert autoprune.prune(model, FEW, {"stem": 4}).model(FEW).shape == (1, 3)
    with pytest.raises(SurgeryError, match="inputs that reach all"):
        autoprune.prune(model, FEW, {"stem": 2})


@pytest.mark.parametrize("criterion", ["wanda", "taylor"])
def test_experts_without_a_token_are_ranked_and_repaired(criterion):
    x, y = torch.randn(40, 2, 6), torch.randint(0, 3, (40,))
    task = autoprune.Classification(made(0), data=(x, y), example_inputs=(FEW,))
    pruned = autoprune.prune(task.model, FEW, 0.5, criterion=criterion, task=task)
    assert [pruned.model(each).shape for each in others()] == [(2, 3)] * 20
