"""Pruning in a loop of one's own."""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import prune

import autoprune
from autoprune import registry
from autoprune.errors import StorageError, SurgeryError, UsageError
from autoprune.testing.fakes import RecordingReporter
from tests.training.own_loop import Net, X, adam, outputs, trained

SCHEDULES = registry.names("schedules")
#: What is pruned where nothing else is said: slices, by the schedules that cut them on the way.
SLICES = {"keep": 0.5}
WEIGHTS = {"keep": 0.2, "pattern": "unstructured"}
USUAL = {"sparse": WEIGHTS}
#: Long enough before the last cut that something can happen there.
LONG = {
    "gradual": {"ramp": 0.5},
    "soft": {"ramp": 0.5},
    "lottery-ticket": {"look": 0.3},
    "iterative": {"rounds": 3, "last": 0.3},
}
OF_SLICES = [name for name in SCHEDULES if name not in USUAL]


def pruner_of(model, schedule="gradual", steps=24, **options):
    options = {"schedule_options": LONG.get(schedule, {})} | USUAL.get(schedule, SLICES) | options
    return autoprune.Pruner(model, X, schedule=schedule, steps=steps, **options)


def zeros(model):
    """How many output channels of the second convolution are zero."""
    return int((model.conv2.weight.flatten(1).abs().sum(1) == 0).sum())


@pytest.mark.parametrize("schedule", OF_SLICES)
def test_every_schedule_ends_with_the_plan_and_the_function_of_the_thinned_model(schedule):
    model = Net()
    pruner, parameters = pruner_of(model, schedule), list(map(id, model.parameters()))
    trained(model, pruner, 24)
    pruned = pruner.finish()
    assert list(map(id, model.parameters())) == parameters
    assert pruned.plan.kept == {"conv1": 4, "conv2": 6}
    assert pruned.model.conv2.weight.shape == (6, 4, 3, 3)
    assert torch.equal(pruned.model.bn2.running_var, model.bn2.running_var[list(pruned.slices["conv2"])])
    assert torch.allclose(outputs(pruned.model), outputs(model), atol=1e-5)
    assert pruned.notes == ()
    once = autoprune.prune(Net(), X, 0.5)
    assert {key: each.value for key, each in pruned.before.items()} == {
        key: each.value for key, each in once.before.items()
    }
    assert pruned.after["params"].value == once.after["params"].value


def test_counts_follow_the_schedule():
    found = {}
    for schedule in OF_SLICES:
        model, steps = Net(), 72 if schedule == "soft" else 24
        pruner = pruner_of(model, schedule, steps)
        counts = [zeros(model)]
        for step in range(steps):
            trained(model, pruner, 1, start=step)
            counts.append(zeros(model))
        found[schedule] = counts
    assert set(found["one-shot"]) == {6}
    assert found["gradual"] == sorted(found["gradual"])
    assert found["gradual"][0] < 3 < found["gradual"][11] < found["gradual"][12] + 1
    assert set(found["gradual"][12:]) == {6}
    assert len(set(found["iterative"])) == 3
    assert found["lottery-ticket"][6:8] == [0, 6]
    assert found["soft"][0] > 0 == max(found["soft"][1:3])  # what was zero grows until slices are chosen anew
    assert set(found["soft"][36:]) == {6}


def test_a_lottery_ticket_begins_again_with_the_weights_of_the_start():
    model = Net()
    before = copy.deepcopy(model.state_dict())
    pruner = pruner_of(model, "lottery-ticket", schedule_options={"look": 0.5})
    optimizer = trained(model, pruner, 11)
    assert not torch.equal(model.head.bias, before["head.bias"])
    trained(model, pruner, 1, optimizer, start=11)
    for name, value in model.state_dict().items():
        assert torch.equal(value[value != 0], before[name][value != 0])
    assert zeros(model) == 6


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("stopped", [3, 13])
def test_a_checkpoint_goes_on_to_the_bit(schedule, stopped, tmp_path):
    whole, part, rest = Net(), Net(), Net(seed=5)
    trained(whole, pruner := pruner_of(whole, schedule), 24)
    first = pruner_of(part, schedule)
    optimizer = trained(part, first, stopped)
    torch.save([part.state_dict(), optimizer.state_dict(), first.state_dict()], tmp_path / "checkpoint.pt")
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    second, again = pruner_of(rest, schedule), adam(rest)
    for each, state in zip((rest, again, second), kept, strict=True):
        each.load_state_dict(state)
    trained(rest, second, 24 - stopped, again, start=stopped)
    assert all(torch.equal(value, rest.state_dict()[name]) for name, value in whole.state_dict().items())
    assert second.finish().slices == pruner.finish().slices


@pytest.fixture
def group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    "wrap", [DistributedDataParallel, lambda model: torch.compile(model, backend="eager")], ids=["ddp", "compiled"]
)
def test_a_wrapped_model_learns_what_it_learns_alone(wrap, group):
    plain, inside = Net(), Net()
    wrapped = wrap(inside)
    for given, model in ((plain, plain), (wrapped, inside)):
        pruner = pruner_of(given)
        trained(given, pruner, 24)
        assert torch.allclose(outputs(pruner.finish().model), outputs(model), atol=1e-5)
    assert torch.allclose(outputs(inside), outputs(plain), atol=1e-5)


WRAPS = {
    "plain": lambda model: model,
    "ddp": DistributedDataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
}


@pytest.mark.parametrize(
    ("gate", "wrap"),
    [*((gate, "plain") for gate in registry.names("gates")), ("hard-concrete", "ddp"), ("hard-concrete", "compiled")],
)
def test_gates_learn_from_the_users_own_steps(wrap, gate, group):
    model = Net()
    wrapped, before, held = WRAPS[wrap](model), model.state_dict().keys(), [*map(id, model.parameters())]
    pruner = pruner_of(wrapped, "learned", schedule_options={"gate": gate})
    optimizer = trained(wrapped, pruner, 11)
    learned = {name.partition(":")[0]: each for name, each in pruner.state_dict().items() if name.startswith("gate.")}
    assert learned.keys() == {"gate.conv1", "gate.conv2"}
    trained(wrapped, pruner, 13, optimizer, start=11)
    pruned = pruner.finish()
    assert model.state_dict().keys() == before
    assert [*map(id, model.parameters())] == held
    assert pruned.plan.kept == {"conv1": 4, "conv2": 6}
    assert torch.allclose(outputs(pruned.model), outputs(model), atol=1e-5)
    assert not pruned.model._forward_hooks


def test_gates_that_are_ended_early_choose_what_is_cut():
    model = Net()
    pruner = pruner_of(model, "learned", schedule_options={"gate": "straight-through"})
    trained(model, pruner, 9)
    moved = {name: pruner.state_dict()[f"gate.{name}:movement"] for name in ("conv1", "conv2")}
    pruned = pruner.finish()
    for name, scores in moved.items():
        best = scores.argsort(descending=True, stable=True)[: pruned.plan.kept[name]]
        assert sorted(best.tolist()) == list(pruned.slices[name])
    assert not pruned.model._forward_hooks
    assert any("after 9 of 24 steps" in note for note in pruned.notes)


def test_gates_of_another_kind_are_refused():
    others = [pruner_of(Net(), "learned", schedule_options={"gate": gate}) for gate in ("attention", "hard-concrete")]
    with pytest.raises(StorageError, match="gates of the kind 'hard-concrete'"):
        others[1].load_state_dict(others[0].state_dict())


LASSO = {"keep": None, "threshold": 0.1, "regularizer": "group-lasso", "regularizer_options": {"strength": "100"}}


def shrunk(model, chosen):
    """Slices of the first convolution made small in all that holds them."""
    with torch.no_grad():
        for parameter in (model.conv1.weight, model.conv1.bias, model.bn1.weight, model.bn1.bias):
            parameter[chosen] *= 0.01
        model.conv2.weight[:, chosen] *= 0.01


def test_what_became_small_in_training_goes_and_the_rest_is_trained_on():
    model = Net()
    pruner = pruner_of(model, "", keep=None, threshold=0.3)
    optimizer = trained(model, pruner, 11)
    assert pruner.plan.kept == {"conv1": 8, "conv2": 12}
    shrunk(model, [1, 3])
    trained(model, pruner, 1, optimizer, start=11)
    assert pruner.plan.kept == {"conv1": 6, "conv2": 12}
    assert not model.conv1.weight[[1, 3]].any()
    trained(model, pruner, 12, optimizer, start=12)
    pruned = pruner.finish()
    assert pruned.notes == ()
    assert pruned.plan == pruner.plan
    assert pruned.slices["conv1"] == (0, 2, 4, 5, 6, 7)
    assert torch.allclose(outputs(pruned.model), outputs(model), atol=1e-5)


def test_a_training_that_ends_before_its_threshold_was_asked_is_cut_by_it():
    model = Net()
    pruner = pruner_of(model, "", keep=None, threshold=0.3)
    trained(model, pruner, 3)
    shrunk(model, [0, 7])
    pruned = pruner.finish()
    assert pruned.slices["conv1"] == (1, 2, 3, 4, 5, 6)
    assert any("after 3 of 24 steps" in note for note in pruned.notes)


def test_the_penalty_acts_in_phases_before_a_cut_with_a_share_of_the_first_loss():
    model, losses = Net(), (torch.tensor(2.0), torch.tensor(5.0))
    for schedule, acting in (("regularized", 12), ("gradual", 12), ("iterative", 16)):
        pruner = pruner_of(model, schedule, regularizer="l2", regularizer_options={"strength": 3})
        assert float(pruner.penalty(losses[0]).detach()) == pytest.approx(6.0)
        assert float(pruner.penalty(losses[1]).detach()) == pytest.approx(6.0)
        acted = []
        for _ in range(24):
            acted.append(bool(pruner.penalty(losses[0])))
            pruner.step()
        assert acted == [True] * acting + [False] * (24 - acting)
    assert float(pruner_of(model).penalty(losses[0])) == 0


@pytest.mark.parametrize("stopped", [3, 12, 17])
def test_a_checkpoint_under_a_regularizer_goes_on_to_the_bit(stopped):
    whole, part, rest = Net(), Net(), Net(seed=5)
    trained(whole, pruner := pruner_of(whole, "", **LASSO), 24)
    optimizer = trained(part, first := pruner_of(part, "", **LASSO), stopped)
    second, again = pruner_of(rest, "", **LASSO), adam(rest)
    for each, kept in zip((rest, again, second), (part, optimizer, first), strict=True):
        each.load_state_dict(kept.state_dict())
    trained(rest, second, 24 - stopped, again, start=stopped)
    assert all(torch.equal(value, rest.state_dict()[name]) for name, value in whole.state_dict().items())
    assert second.finish().slices == pruner.finish().slices


def test_accumulated_gradients_count_as_one_step():
    model = Net()
    pruner = autoprune.Pruner(model, X, keep=0.5, epochs=2, steps_per_epoch=6)
    trained(model, pruner, 12, accumulate=3)
    assert pruner.done == pruner.steps == 12
    assert pruner.finish().notes == ()


def test_mixed_precision_keeps_zeros_zero():
    model = Net()
    pruner = pruner_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        trained(model, pruner, 24)
    assert zeros(model) == 6
    assert torch.allclose(outputs(pruner.finish().model), outputs(model), atol=1e-5)


@pytest.mark.parametrize("when", [0, 8, 16])
def test_masks_of_torch_prune_hold_whenever_they_come(when):
    model = Net()
    if when == 0:
        prune.random_unstructured(model.conv2, "weight", 0.3)
    pruner = pruner_of(model)
    optimizer = trained(model, pruner, when)
    if when:
        prune.random_unstructured(model.conv2, "weight", 0.3)
    trained(model, pruner, 24 - when, optimizer, start=when)
    pruned = pruner.finish()
    assert torch.allclose(outputs(pruned.model), outputs(model), atol=1e-5)
    assert float((pruned.model.conv2.weight == 0).float().mean()) > 0.02
    assert pruned.model.conv2.weight.shape == (6, 4, 3, 3)
    prune.remove(model.conv2, "weight")
    assert zeros(model) == 6


def test_masks_that_are_taken_off_on_the_way_leave_the_schedule_alone():
    model = Net()
    prune.random_unstructured(model.conv2, "weight", 0.3)
    pruner = pruner_of(model)
    optimizer = trained(model, pruner, 8)
    prune.remove(model.conv2, "weight")
    trained(model, pruner, 16, optimizer, start=8)
    assert zeros(model) == 6
    assert torch.allclose(outputs(pruner.finish().model), outputs(model), atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_single_weights_are_thinned_out_too(schedule):
    model = Net()
    pruner = pruner_of(model, schedule, **WEIGHTS)
    trained(model, pruner, 24)
    state = pruner.state_dict()
    weight = pruner.finish().model.conv2.weight
    assert float((weight == 0).float().mean()) == pytest.approx(0.8, abs=0.01)
    again = Net()
    other = pruner_of(again, schedule, **WEIGHTS)
    again.load_state_dict(model.state_dict())
    other.load_state_dict(state)
    assert torch.equal(other.finish().model.conv2.weight, weight)


def test_a_criterion_may_look_at_data_and_leaves_the_loops_random_numbers_alone():
    model = Net()
    task = autoprune.Classification(Net(), data=(torch.randn(60, 1, 6, 6), torch.arange(60) % 3), example_inputs=X)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    pruner = pruner_of(model, criterion="taylor", task=task, steps=6)
    assert torch.equal(torch.rand(1), expected)
    trained(model, pruner, 6)
    assert pruner.finish().plan.kept["conv2"] == 6
    assert not model.training or all(parameter.grad is None for parameter in model.parameters())


def test_training_that_ends_early_is_cut_all_the_same_and_says_so():
    model = Net()
    pruner = pruner_of(model)
    trained(model, pruner, 5)
    pruned = pruner.finish()
    assert pruned.plan.kept["conv2"] == pruned.model.conv2.out_channels == 6
    assert any("after 5 of 24 steps" in note for note in pruned.notes)
    assert zeros(model) < 6


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        return self.b(self.norm(self.a(x)))


def test_widths_that_are_normalised_over_are_told_before_and_after():
    model, reporter = Normalised(), RecordingReporter()
    x = torch.randn(4, 6)
    pruner = autoprune.Pruner(model, x, keep=0.5, schedule="one-shot", steps=1, reporter=reporter)
    pruner.step()
    (told,), (note,) = reporter.warnings, pruner.finish().notes
    assert "norm normalise over widths that are cut" in told
    assert "norm normalise over widths that are cut" in note


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(x)))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.layers, self.head = nn.Linear(6, 16), nn.ModuleList([Block(), Block()]), nn.Linear(16, 3)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def test_layers_are_dropped_at_the_end_and_that_is_told():
    x, reporter = torch.randn(4, 6), RecordingReporter()
    pruner = autoprune.Pruner(Residual(), x, plan={"layers.1": 0}, steps=2, reporter=reporter)
    pruner.step()
    pruner.step()
    pruned = pruner.finish()
    assert "layers.1 are dropped as a whole" in reporter.warnings[0]
    assert pruned.after["params"].value < pruned.before["params"].value
    assert pruned.model(x).shape == (4, 3)


def test_weights_that_cannot_be_zero_are_refused_at_once():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 16)), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(SurgeryError, match="no numbers as outputs with zeros in it"):
        autoprune.Pruner(model, torch.randn(4, 6), keep=0.5, steps=4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.5, "plan": {"conv1": 4}, "steps": 9}, "keep=, plan= and threshold=; received keep and plan"),
        ({"steps": 9}, "received none"),
        ({"keep": 0.5, "threshold": 0.1, "steps": 9}, "received keep and threshold"),
        ({"threshold": 2, "steps": 9}, "received 2"),
        ({"threshold": 0.1, "steps": 9, "schedule": "gradual"}, "choose schedule='regularized'"),
        ({"threshold": 0.1, "steps": 9, "schedule": "one-shot"}, "choose schedule='regularized'"),
        ({"keep": 0.5, "steps": 9, "regularizer": "group-laso"}, "did you mean 'group-lasso'"),
        ({"keep": 0.5, "steps": 9, "regularizer": "l2", "regularizer_options": {"strenght": 1}}, "known: strength"),
        ({"keep": 0.5, "steps": 9, "regularizer": "l2", "schedule": "one-shot"}, "before it is cut"),
        ({"keep": 0.5, "steps": 9, "schedule": "learned", "schedule_options": {"gate": "lo"}}, "known: attention"),
        ({"keep": 0.5}, "steps=, or epochs= and steps_per_epoch="),
        ({"keep": 0.5, "epochs": 3}, "received epochs=3"),
        ({"keep": 0.5, "epochs": 3, "steps": 9}, "received steps=9, epochs=3"),
        ({"keep": 0.5, "steps": 0}, "received steps=0"),
        ({"keep": 0.5, "steps": 1, "schedule": "iterative"}, "at least 2 steps for the schedule 'iterative'"),
        ({"keep": 0.5, "steps": 9, "schedule": "gradul"}, "did you mean 'gradual'"),
        ({"keep": 0.5, "steps": 9, "schedule_options": {"rump": 1}}, "known: ramp"),
        ({"keep": 0.5, "steps": 9, "schedule_options": ["ramp"]}, "options of a schedule by name"),
        ({"keep": 0.5, "steps": 9, "schedule_options": {"ramp": 2}}, "write for example ramp="),
        ({"plan": {"stem": 4}, "steps": 9}, "received 'stem'"),
        ({"plan": autoprune.Plan.of({"layer1": 4}), "steps": 9}, "layer1"),
        ({"keep": 0.5, "steps": 9, "freeze": "nothing"}, "which matches none"),
        ({"keep": 0.5, "steps": 9, "criterion": "taylor"}, "a task"),
        ({"keep": 0.5, "steps": 9, "schedule": "sparse"}, "pattern='unstructured'"),
        ({**WEIGHTS, "steps": 9, "schedule": "sparse", "schedule_options": {"times": 0}}, "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_training(options, words):
    model = Net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError, match=words) as caught:
        autoprune.Pruner(model, X, **options)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loop_that_never_steps_and_one_that_steps_too_often():
    pruner = pruner_of(Net(), steps=3)
    with pytest.raises(UsageError, match="received finish\\(\\) before any step"):
        pruner.finish()
    for _ in range(3):
        pruner.step()
    with pytest.raises(UsageError, match="the 3 steps that were announced"):
        pruner.step()


@pytest.mark.parametrize("other", [{"keep": 0.25}, {"steps": 30}, {"schedule": "lottery-ticket"}])
def test_a_state_of_another_pruner_is_refused(other):
    with pytest.raises(UsageError, match="make the pruner with the arguments"):
        pruner_of(Net(), **other).load_state_dict(pruner_of(Net()).state_dict())


def test_masks_of_another_model_with_the_same_plan_are_refused():
    def of(height, width):
        return autoprune.Pruner(nn.Linear(width, height), torch.randn(2, width), steps=3, **WEIGHTS)

    with pytest.raises(UsageError, match="masks of another model"):
        of(6, 8).load_state_dict(of(8, 6).state_dict())


def test_plans_in_files_are_taken(tmp_path):
    autoprune.prune(Net(), X, {"conv1": 3}).save(tmp_path / "model")
    pruner = autoprune.Pruner(Net(), X, plan=tmp_path / "model" / "plan.json", steps=4)
    assert pruner.plan.kept["conv1"] == 3


def test_what_grows_small_is_remembered_and_not_ranked_anew():
    model, again = Net(), Net(seed=5)
    first, other = (pruner_of(each, "regularized", regularizer="growing") for each in (model, again))
    first.step()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(-weight.flip(0))  # by now, others would be the smallest
    again.load_state_dict(model.state_dict())
    other.load_state_dict(first.state_dict())
    loss = torch.tensor(2.0)
    assert float(first.penalty(loss).detach()) == float(other.penalty(loss).detach()) != 0
