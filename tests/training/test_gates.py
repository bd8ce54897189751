"""Every kind of gate, and models that are trained under gates."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import autoprune
from autoprune import registry
from autoprune.errors import StorageError, TaskError, UsageError
from autoprune.surgery import CutModel, apply, kept_slices, trace
from autoprune.testing.criterion import ResidualNet, attention_task, residual_task
from autoprune.testing.fakes import RecordingReporter
from autoprune.testing.gate import GateConformance, half, phase
from autoprune.training.gates import GateContext, hard_concrete, straight_through
from autoprune.training.gating import Gating
from autoprune.training.thinning import slice_masks, zero

for _name in registry.names("gates"):
    _kind = type(f"Test{_name.title().replace('-', '')}", (GateConformance,), {"name": _name})
    globals()[_kind.__name__] = _kind


def concrete(size=9, kept=4.0, seed=0):
    gate = hard_concrete.create(size).double()
    with torch.no_grad():
        gate.log_odds.copy_(2 * torch.randn(size, generator=torch.Generator().manual_seed(seed)))
    gate.at(kept)
    return gate


@pytest.mark.parametrize("kept", [1.0, 4.0, 8.0])
def test_as_many_hard_concrete_gates_are_open_as_are_expected_to_be(kept):
    gate, generator = concrete(kept=kept), torch.Generator().manual_seed(1)
    draws = torch.rand(40_000, 9, generator=generator, dtype=torch.float64)
    drawn = gate(GateContext(uniform=draws)).detach()
    assert float(gate.open().detach().sum()) == pytest.approx(kept, rel=1e-6)
    assert torch.allclose((drawn > 0).double().mean(0), gate.open().detach(), atol=0.01)
    assert float((drawn > 0).double().sum(1).mean()) == pytest.approx(kept, abs=0.03)
    assert 0 < float(((drawn == 1).double()).mean()) < 1


def test_hard_concrete_gradients_lie_along_the_constraint():
    gate, weights = concrete(), torch.randn(9, generator=torch.Generator().manual_seed(3)).double()
    (gate.open() * weights).sum().backward()
    found, ends = gate.log_odds.grad.clone(), []
    assert float(gate.open().detach().sum()) == pytest.approx(4.0)
    with torch.no_grad():
        for place in range(9):
            for step in (1e-6, -1e-6):
                gate.log_odds[place] += step
                ends.append(float((gate.open() * weights).sum()))
                gate.log_odds[place] -= step
    wanted = [(ends[2 * place] - ends[2 * place + 1]) / 2e-6 for place in range(9)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-7)


def test_movement_scores_add_up_the_gradients_of_open_and_of_closed_gates():
    gate, descent = straight_through.create(5), None
    descent = straight_through.optimizer(gate.parameters())
    gate.at(2)
    slopes = torch.tensor([0.3, -0.2, 0.1, -0.5, 0.0])
    for _ in range(2):
        (gate(GateContext()) * slopes).sum().backward()
        descent.step()
        descent.zero_grad()
    assert torch.allclose(gate.scores(), -2 * slopes)
    assert gate(GateContext()).tolist() == [0, 1, 0, 1, 0]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.head = nn.LSTM(5, 12, num_layers=2, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    """A table that is read at the end as well."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.up, self.down = nn.Embedding(11, 8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, tokens):
        x = self.table(tokens)
        x = x + self.down(torch.relu(self.up(x)))
        return x @ self.table.weight.T


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 12, 1)
        self.up, self.head = nn.ConvTranspose2d(12, 8, 2, 2), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.last(torch.relu(self.norm(self.deep(self.stem(x))))))
        return self.head(torch.relu(self.up(x)).mean((2, 3)))


MODELS = {
    "residual": lambda: (residual_task().model.float(), torch.randn(4, 3, 8, 8)),
    "recurrent": lambda: (Recurrent(), torch.randn(4, 6, 5)),
    "tied": lambda: (Tied(), torch.randint(0, 11, (4, 6))),
    "grouped": lambda: (Grouped().eval(), torch.randn(4, 3, 6, 6)),
    "attention": lambda: (attention_task().model.float(), torch.randn(4, 6, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_slice_whose_gate_is_closed_does_as_little_as_one_that_is_zero(name):
    model, x = MODELS[name]()
    traced = trace(model, x)
    if name == "attention":  # over which there are normalisations, which count zeros
        width = next(group.name for group in traced.open if "norm1" in str(group.members))
        traced = traced.frozen({width: "normalised over"})
    traced = traced.frozen({group.name: "a layer" for group in traced.open if group.kind == "layer"})
    gating, plan = Gating(phase("straight-through", traced), CutModel(model), traced, 0), half(traced)
    assert gating.gates.keys() == {group.name for group in traced.open}
    with torch.no_grad():
        open_all = model(x)
        for gate in gating.gates.values():
            gate.movement.copy_(torch.rand(gate.size))
        scores = gating.settle({})
        closed = model(x)
        gating.end()
        assert torch.equal(model(x), open_all)
        zero(model, slice_masks(model, traced, kept_slices(traced, scores, plan)))
        assert torch.allclose(model(x), closed, atol=1e-5)
        assert not torch.allclose(open_all, closed, atol=1e-3)


def test_all_that_reads_a_residual_stream_has_the_same_gates():
    task = residual_task()
    traced = trace(task.model, task.example_inputs)
    gating = Gating(phase("hard-concrete", traced), CutModel(task.model), traced, 0)
    with torch.no_grad():
        for gate in gating.gates.values():
            gate.log_odds.copy_(torch.randn(gate.size))
    before = copy.deepcopy(task.model)
    gating.settle(dict(task.model.named_parameters()))
    gates = gating.gates["stem"].settled().detach().double()
    assert 0 < int((gates == 0).sum()) < 8
    assert torch.allclose(task.model.inner.weight, before.inner.weight * gates[:, None, None])
    head = (task.model.head.weight / before.head.weight).view(5, 20, 4)
    assert torch.allclose(head[:, :8], gates[:, None].expand(5, 8, 4))
    assert torch.equal(task.model.stem.weight, before.stem.weight)


def test_a_cut_model_is_gated_by_the_numbers_of_the_dense_one():
    task = residual_task()
    traced, kept = trace(task.model, task.example_inputs), torch.tensor([0, 2, 5, 7])
    cut = CutModel(apply(task.model, traced, {"stem": kept}).eval(), slices={"stem": kept})
    gating = Gating(phase("straight-through", traced), cut, traced, 0)
    with torch.no_grad():
        gating.gates["stem"].movement.copy_(torch.tensor([8.0, 1, 7, 1, 9, 2, 9, 3]))
    before = cut.model.inner.weight.detach().clone()
    gating.settle(dict(cut.model.named_parameters()))
    closed = (cut.model.inner.weight == 0).all(0).all(-1).all(-1).tolist()
    assert closed == [False, False, True, True]
    assert torch.equal(cut.model.inner.weight[:, :2], before[:, :2])


def test_weights_are_themselves_again_when_a_run_fails():
    model = residual_task().model.float()
    traced = trace(model, torch.randn(2, 3, 8, 8))
    Gating(phase("hard-concrete", traced), CutModel(model), traced, 0)
    own = [*model.parameters()]
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 7, 8, 8))
    assert all(one is other for one, other in zip(own, model.parameters(), strict=True))
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 5)


def test_making_gates_leaves_the_loops_random_numbers_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    traced = trace(model, torch.randn(4, 8))
    before = torch.get_rng_state()
    Gating(phase("attention", traced), CutModel(model), traced, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_that_never_calls_the_model_is_told():
    model = ResidualNet()
    traced = trace(model, torch.randn(2, 3, 8, 8))
    gating = Gating(phase("hard-concrete", traced), CutModel(model), traced, 0)
    model.head(torch.randn(2, 80)).sum().backward()
    with pytest.raises(TaskError, match="call model"):
        gating.step()


def test_gates_of_another_model_are_refused():
    task = residual_task()
    traced = trace(task.model, task.example_inputs)
    gating, other = (
        Gating(phase(kind, traced), CutModel(task.model), traced, 0) for kind in ("hard-concrete", "straight-through")
    )
    with pytest.raises(StorageError, match="gates of the kind 'straight-through'"):
        other.load(gating.state())


def test_a_search_under_gates_ends_with_models_of_its_plans(small_task):
    reporter = RecordingReporter()
    options = {"schedule": "learned", "schedule_options": {"gate": "straight-through"}}
    found = autoprune.search(
        small_task, budget="params=50%", trials=4, finetune_epochs=2, finetune_lr=1e-2, finalists=1, run="r",
        reporter=reporter, **options,
    )  # fmt: skip
    score = small_task.score(found.best.load(), "validation")["loss"].value
    assert score == pytest.approx(found.best.measurements["loss"].value, abs=1e-5)
    assert not [text for text in reporter.warnings if "fine-tuning failed" in text]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule_options": {"gate": "hard-concret"}}, "did you mean 'hard-concrete'"),
        ({"schedule_options": {"mask": "hard-concrete"}}, "known: share, gate"),
        ({"schedule_options": {"share": "2"}}, "write for example share="),
        ({"finetune_epochs": 1}, "at least 2 epochs of fine-tuning for the schedule 'learned'"),
    ],
)
def test_gates_that_do_not_fit_are_refused_before_the_search(small_task, options, words):
    asked = {"finetune_epochs": 2, **options}
    with pytest.raises(UsageError, match=words) as raised:
        autoprune.search(small_task, budget="params=50%", trials=4, run="r", schedule="learned", **asked)
    assert "\n" not in str(raised.value)


def test_a_model_without_groups_for_a_gate_and_a_training_of_its_own_are_refused(small_task):
    own = dataclasses.replace(small_task, train=lambda model, epoch, report: None)
    whole = {"budget": "params=90%", "trials": 4, "run": "r", "schedule": "learned", "finetune_epochs": 2}
    with pytest.raises(UsageError, match="a task with a train of its own"):
        autoprune.search(own, **whole)
    recurrent = dataclasses.replace(
        small_task, model=Flat().eval(), loss=lambda outputs, batch: nn.functional.cross_entropy(outputs, batch[1])
    )
    with pytest.raises(UsageError, match="gates of the kind 'attention' can act on"):
        autoprune.search(recurrent, **whole, schedule_options={"gate": "attention"})


class Flat(nn.Module):
    """Rows of an image as a sequence."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, num_layers=2, batch_first=True), nn.Parameter(torch.randn(16, 3))

    def forward(self, x):
        return self.lstm(x.flatten(1).unflatten(1, (8, -1))[..., :8])[0][:, -1] @ self.head
