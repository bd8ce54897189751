"""Every regularizer, and models that are trained under one."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import autoprune
from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.clock import SystemClock
from autoprune.errors import UsageError
from autoprune.finetuning.coupled import CoupledWeights
from autoprune.finetuning.penalty import Penalty
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, apply, kept_slices, trace
from autoprune.surgery.sparsity import with_weights
from autoprune.testing.fakes import RecordingReporter
from autoprune.testing.regularizer import RegularizerConformance
from autoprune.training.phases import PhaseTraining
from autoprune.training.schedules import phases_of
from autoprune.training.surgeon import Surgeon

for _name in registry.names("regularizers"):
    _kind = type(f"Test{_name.title().replace('-', '')}", (RegularizerConformance,), {"name": _name})
    globals()[_kind.__name__] = _kind

ACTING = [name for name in registry.names("regularizers") if name != "none"]
SCHEDULES = ["regularized", "gradual", "soft", "lottery-ticket", "iterative"]


class Pair(nn.Module):
    """Two convolutions and a normalisation between them: the group holds rows, factors, biases and columns."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5)
        self.last = nn.Conv2d(5, 3, 1)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x)))).mean((2, 3))


def pair():
    torch.manual_seed(0)
    model = Pair().double().eval()
    with torch.no_grad():
        model.norm.weight.uniform_(0.5, 2)
        model.norm.bias.normal_()
    return model, trace(model, torch.randn(2, 2, 6, 6).double())


def penalty(name, cut, traced, going=None, **options):
    weights = CoupledWeights(cut, traced)
    asked = TrainingOptions(epochs=1, regularizer=name, regularizer_options=options)
    return Penalty(asked, weights, weights.held if going is None else going(weights))


def slices_of(model):
    """What each slice of the pair's only group holds, as one vector each."""
    parts = [model.first.weight.flatten(1), model.first.bias[:, None], model.norm.weight[:, None]]
    parts += [model.norm.bias[:, None], model.last.weight.movedim(1, 0).flatten(1)]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("kept", [None, [0, 2, 4]])
def test_penalties_are_the_sums_of_their_papers_on_whole_and_on_cut_models(kept):
    model, traced = pair()
    cut = CutModel(model)
    if kept:
        slices = {"first": torch.tensor(kept)}
        cut = CutModel(apply(model, traced, slices), slices=slices)
    held = slices_of(cut.model)
    wanted = {
        "l1": held.abs().sum(),
        "l2": held.square().sum(),
        "group-lasso": (math.sqrt(held.shape[1]) * held.norm(dim=1)).sum(),
        "scale": cut.model.norm.weight.abs().sum(),
    }
    assert traced.open[0].name == "first"
    for name, value in wanted.items():
        assert float(penalty(name, cut, traced).value().detach()) == pytest.approx(float(value.detach()), rel=1e-12)


def test_a_weight_between_two_groups_counts_once_as_a_weight_and_in_both_slices():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    traced = trace(model, torch.randn(2, 3).double())
    (a, b), (c, d), (e, _) = ((model[place].weight, model[place].bias) for place in (0, 2, 4))
    total = sum(float(each.detach().abs().sum()) for each in (a, b, c, d, e))
    assert float(penalty("l1", CutModel(model), traced).value().detach()) == pytest.approx(total, rel=1e-12)
    first = (a.square().sum(1) + b.square() + c.square().sum(0)).sqrt().sum() * math.sqrt(3 + 1 + 5)
    second = (c.square().sum(1) + d.square() + e.square().sum(0)).sqrt().sum() * math.sqrt(4 + 1 + 2)
    assert float(penalty("group-lasso", CutModel(model), traced).value().detach()) == pytest.approx(
        float((first + second).detach())
    )


def test_group_lassos_gradient_is_that_of_finite_differences_for_each_weight():
    model, traced = pair()
    own = penalty("group-lasso", CutModel(model), traced)
    own.value().backward()
    with torch.no_grad():
        for parameter in (model.first.weight, model.norm.weight, model.norm.bias, model.last.weight):
            flat, slope = parameter.view(-1), parameter.grad.view(-1)
            for place in range(len(flat)):
                before, ends = float(flat[place]), []
                for step in (1e-6, -1e-6):
                    flat[place] = before + step
                    ends.append(float(own.value()))
                flat[place] = before
                assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_scaling_draws_small_slices_more_strongly_than_large_ones():
    model, traced = pair()
    slices = slices_of(model).detach()
    norms = slices.norm(dim=1) * math.sqrt(slices.shape[1])
    factors = 2 ** (4 * (norms.max() - norms) / (norms.max() - norms.min()))
    own = penalty("group-lasso", CutModel(model), traced, scaling="4")
    assert float(own.value().detach()) == pytest.approx(float((factors * norms).sum()))
    own.value().backward()
    pulls = model.first.bias.grad / (model.first.bias.detach() * math.sqrt(slices.shape[1]) / slices.norm(dim=1))
    assert torch.allclose(pulls, factors)


def test_a_strength_that_decays_is_gone_at_the_last_step():
    model, traced = pair()
    own = penalty("l2", CutModel(model), traced, strength="8", growth="decay")
    found = []
    for step in range(4):
        own.at(step, 4)
        found.append(float(own.weighed(0.5).detach()))
    assert found == pytest.approx([3.0, 2.0, 1.0, 0.0])


def test_scale_acts_on_factors_of_normalisation_alone():
    model, traced = pair()
    penalty("scale", CutModel(model), traced, strength="1").add(1.0)
    touched = {name for name, each in model.named_parameters() if each.grad is not None and each.grad.any()}
    assert touched == {"norm.weight"}
    assert torch.allclose(
        model.norm.weight.grad, torch.full((5,), 1 / float(model.norm.weight.detach().sum())).double()
    )


def test_growing_acts_ever_more_on_what_goes_and_leaves_the_rest_alone():
    model, traced = pair()
    ranking = {"first": torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0])}
    plan = autoprune.Plan.of({"first": 3})
    own = penalty("growing", CutModel(model), traced, lambda weights: weights.going(ranking, plan), strength="8")
    squares = float(slices_of(model)[[1, 3]].detach().square().sum())
    for step in range(4):
        model.zero_grad()
        own.at(step, 4)
        own.add(0.5)
        weight = 8 * 0.5 / squares * (step + 1) / 4
        for gone, row in enumerate(model.first.weight.grad):
            wanted = 2 * weight * model.first.weight[gone] if gone in (1, 3) else torch.zeros_like(row)
            assert torch.allclose(row, wanted)
        assert torch.allclose(model.last.weight.grad[:, [0, 2, 4]], torch.zeros(3, 3, 1, 1).double())


@pytest.mark.parametrize("name", ACTING)
def test_the_penalty_has_the_stated_share_of_the_loss_whatever_the_weights_are(name):
    for height in (1.0, 100.0):
        model, traced = pair()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(height)
        own = penalty(name, CutModel(model), traced, strength="0.25", growth="constant")
        before = float(own.value())
        own.add(3.0)
        assert float(own.state()["penalty.weight"]) * before == pytest.approx(0.25 * 3.0)


def test_single_weights_are_slices_of_their_own():
    model, traced = pair()
    traced = with_weights(model, dataclasses.replace(traced, groups=()), "unstructured")
    total = float(model.first.weight.abs().sum() + model.last.weight.abs().sum())
    for name in ("l1", "group-lasso"):
        assert float(penalty(name, CutModel(model), traced).value().detach()) == pytest.approx(total, rel=1e-12)


def training(task, schedule, regularizer, epochs=3, plan_of=None, steps=2, traced=None, **options):
    traced = traced or trace(task.model, task.example_inputs)
    plan = autoprune.Plan.of({group.name: math.ceil(group.size / 2) for group in traced.open})
    ranking = rank(registry.load("criteria", "l1"), task.model, traced=traced).scores
    surgeon = Surgeon(
        task=task, traced=traced, ranking=ranking, criterion="l1", repair="batchnorm", clock=SystemClock()
    )
    asked = TrainingOptions(
        epochs=epochs,
        rate=1e-2,
        schedule=schedule,
        criterion="l1",
        regularizer=regularizer,
        regularizer_options=options,
    )  # fmt: skip
    phases = phases_of(asked, plan_of(traced) if plan_of else plan, traced.groups)
    slices = kept_slices(traced, ranking, phases[0].plan)
    first = CutModel(apply(task.model, traced, slices).eval(), phases[0].plan, slices)
    return PhaseTraining(first, phases, surgeon, None, asked, seed=0)


@pytest.mark.parametrize(
    ("schedule", "regularizer"),
    [("regularized", name) for name in ACTING] + [(name, "growing") for name in SCHEDULES[1:]],
)
def test_a_training_that_is_stopped_anywhere_ends_as_an_uninterrupted_one(small_task, schedule, regularizer):
    traced, states = trace(small_task.model, small_task.example_inputs), []
    whole = training(small_task, schedule, regularizer, traced=traced)
    for _ in range(3):
        whole.epoch()
        states.append(whole.state())
    for done, state in enumerate(states, 1):
        rest = training(small_task, schedule, regularizer, traced=traced)
        rest.load(state, done)
        for _ in range(3 - done):
            rest.epoch()
        found = rest.model.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in whole.model.state_dict().items())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_penalty_acts_in_every_phase_but_the_last(small_task, schedule):
    run, plain = training(small_task, schedule, "group-lasso"), training(small_task, schedule, "none")
    acted = []
    for _ in range(3):
        run.epoch()
        acted.append("penalty.weight" in run.state())
        plain.epoch()
        assert "penalty.weight" not in plain.state()
    assert acted[0]
    assert not acted[-1]
    assert sorted(acted, reverse=True) == acted


def test_nothing_acts_where_nothing_is_cut(small_task):
    def whole(traced):
        return autoprune.Plan.of({group.name: group.size for group in traced.open})

    run = training(small_task, "regularized", "group-lasso", plan_of=whole)
    run.epoch()
    assert "penalty.weight" not in run.state()


def test_what_is_regularised_is_small_before_it_is_cut(small_task):
    lost = {}
    for name in ("none", "growing"):
        run = training(small_task, "regularized", name, epochs=24, steps=0)
        for _ in range(12):
            run.epoch()
        weights = CoupledWeights(run.cut, run._surgeon.traced)
        going = weights.going(run._surgeon.ranking, run._phases[-1].plan)
        lost[name] = sum(
            float(weights.parameters[each].detach()[where].square().sum()) for each, where in going.items()
        )
    assert lost["growing"] < 0.5 * lost["none"]


def test_a_search_under_a_regularizer_ends_with_models_of_its_plans(small_task):
    reporter = RecordingReporter()
    options = {"schedule": "regularized", "regularizer": "group-lasso", "regularizer_options": {"strength": "0.5"}}
    found = autoprune.search(
        small_task, budget="params=50%", trials=4, finetune_epochs=2, finetune_lr=1e-2, finalists=1, run="r",
        reporter=reporter, **options,
    )  # fmt: skip
    score = small_task.score(found.best.load(), "validation")["loss"].value
    assert score == pytest.approx(found.best.measurements["loss"].value, abs=1e-5)
    assert not [text for text in reporter.warnings if "fine-tuning failed" in text]
    assert "regularizer: group-lasso" in Path("r/run.yaml").read_text()


GRADUAL = {"schedule": "gradual", "finetune_epochs": 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regularizer": "group-lasso"}, "pass --schedule regularized"),
        ({"regularizer": "l2", "schedule": "iterative", "schedule_options": {"rounds": "1"}}, "before it is cut"),
        ({"regularizer": "group-laso", **GRADUAL}, "did you mean 'group-lasso'"),
        ({"regularizer": "l1", "regularizer_options": {"power": "1"}, **GRADUAL}, "known: strength, growth"),
        (
            {"regularizer": "l1", "regularizer_options": {"strength": "much"}, **GRADUAL},
            "strength as a positive number",
        ),
        (
            {"regularizer": "l1", "regularizer_options": {"growth": "cubic"}, **GRADUAL},
            "growth=constant or linear or decay",
        ),
        ({"regularizer": "group-lasso", "regularizer_options": {"scaling": "-1"}, **GRADUAL}, "scaling as a number"),
        ({"regularizer_options": {"strength": "1"}}, "a regularizer where there are options for one"),
    ],
)
def test_regularizers_that_do_not_fit_are_refused_before_the_search(small_task, options, words):
    with pytest.raises(UsageError, match=words) as raised:
        autoprune.search(small_task, budget="params=50%", trials=4, run="r", **options)
    assert "\n" not in str(raised.value)


def test_scale_is_refused_on_a_model_without_factors(small_task):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    plain = dataclasses.replace(small_task, model=model.eval())
    with pytest.raises(UsageError, match="normalisation with factors"):
        autoprune.search(plain, budget="params=50%", trials=4, run="r", regularizer="scale", **GRADUAL)


def test_a_task_that_trains_by_itself_takes_no_regularizer(small_task):
    own = dataclasses.replace(small_task, train=lambda model, epochs, report: None)
    with pytest.raises(UsageError, match="train of its own"):
        autoprune.search(own, budget="params=50%", trials=4, run="r", regularizer="l2", **GRADUAL)


def test_a_task_without_a_loss_takes_no_regularizer(small_task):
    unlabelled = dataclasses.replace(small_task, loss=None)
    with pytest.raises(UsageError, match="a share"):
        autoprune.search(unlabelled, budget="params=50%", trials=4, run="r", regularizer="l2", **GRADUAL)


def test_frozen_weights_cannot_be_regularised(small_task):
    small_task.model.requires_grad_(False)
    frozen = dataclasses.replace(small_task, loss=None, distance=None)
    with pytest.raises(UsageError, match="requires_grad_"):
        autoprune.search(frozen, budget="params=50%", trials=4, run="r", regularizer="l2", **GRADUAL)
