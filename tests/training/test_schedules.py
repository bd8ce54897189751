"""Every schedule, and models that are trained by one."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

import autoprune
from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.clock import SystemClock
from autoprune.errors import SurgeryError, UsageError
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, apply, kept_slices, trace, twin
from autoprune.surgery.recut import composed, recut
from autoprune.surgery.sparsity import masks, with_weights
from autoprune.testing.fakes import RecordingReporter
from autoprune.testing.schedule import GROUPS, PLAN, ScheduleConformance
from autoprune.training.phases import PhaseTraining, shapes
from autoprune.training.schedules import Phase, between, phases_of
from autoprune.training.surgeon import Surgeon
from autoprune.training.thinning import slice_masks, thinned, zero

for _name in registry.names("schedules"):
    _kind = type(f"Test{_name.title().replace('-', '')}", (ScheduleConformance,), {"name": _name})
    globals()[_kind.__name__] = _kind


def half(task, pattern=""):
    """Groups of the task's model, and the plan of half of each."""
    traced = trace(task.model, task.example_inputs)
    traced = with_weights(task.model, traced, pattern) if pattern else traced
    plan = autoprune.Plan.of({group.name: math.ceil(group.size / 2) for group in traced.open})
    return traced, plan


def training(task, schedule, epochs=4, pattern="unstructured", phases=None, **options):
    traced, plan = half(task, pattern)
    ranking = rank(registry.load("criteria", "l1"), task.model, traced=traced).scores
    surgeon = Surgeon(
        task=task, traced=traced, ranking=ranking, criterion="l1", repair="batchnorm", clock=SystemClock()
    )
    asked = TrainingOptions(epochs=epochs, rate=1e-2, schedule=schedule, schedule_options=options, criterion="l1")
    phases = phases or phases_of(asked, plan, traced.groups)
    slices = kept_slices(traced, ranking, phases[0].plan)
    zeros = masks(traced, ranking, phases[0].plan, slices)
    first = CutModel(apply(task.model, traced, slices).eval(), phases[0].plan, slices, zeros)
    return PhaseTraining(first, phases, surgeon, None, asked, seed=0), plan, traced


@pytest.mark.parametrize("schedule", registry.names("schedules"))
def test_the_trained_model_has_the_plans_shapes_and_its_slices_tell_which(small_task, schedule):
    run, plan, traced = training(small_task, schedule)
    for _ in range(4):
        run.epoch()
    shaped = apply(small_task.model, traced, run.cut.slices)
    own = run.model.state_dict()
    assert {name: value.shape for name, value in shaped.state_dict().items()} == {n: v.shape for n, v in own.items()}
    for group in traced.open:
        if group.kind == "weight":
            (tensor,) = (own[member.tensor] for member in group.members)
            assert int((tensor != 0).sum()) <= round(plan.kept[group.name] / group.size * tensor.numel())
        else:
            assert len(run.cut.slices[group.name]) == plan.kept[group.name]
    assert not math.isnan(small_task.score(run.model, "test")["loss"].value)


@pytest.mark.parametrize("schedule", registry.names("schedules"))
@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_stopped_training_ends_as_an_uninterrupted_one(small_task, schedule, stopped):
    whole, part, rest = (training(small_task, schedule)[0] for _ in range(3))
    for _ in range(4):
        whole.epoch()
    for _ in range(stopped):
        part.epoch()
    rest.load(part.state(), stopped)
    for _ in range(4 - stopped):
        rest.epoch()
    found = rest.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole.model.state_dict().items())
    assert {name: kept.tolist() for name, kept in whole.cut.slices.items()} == {
        name: kept.tolist() for name, kept in shapes(rest.state())[0].items()
    }


def test_slices_that_are_zero_count_as_little_as_slices_that_are_cut(small_task):
    traced, plan = half(small_task)
    model = twin(small_task.model, meta=False)[0].eval()
    slices, kept = thinned(model, traced, plan)
    zero(model, kept)
    x = next(iter(small_task.split("test")))[0]
    with torch.no_grad():
        assert torch.allclose(model(x), apply(model, traced, slices).eval()(x), atol=1e-5)
    assert torch.equal(thinned(model, traced, plan)[0]["conv2"], slices["conv2"])


def test_a_cut_model_is_cut_again_as_the_dense_one_at_once(small_task):
    traced, plan = half(small_task)
    ranking = rank(registry.load("criteria", "l1"), small_task.model, traced=traced).scores
    whole = autoprune.Plan.of({group.name: group.size for group in traced.open})
    middle = kept_slices(traced, ranking, between(whole, plan, traced.groups, 0.5))
    last = kept_slices(traced, ranking, plan)
    between_model = apply(small_task.model, traced, middle)
    twice = recut(small_task.model, traced, between_model, middle, last)
    once = apply(small_task.model, traced, last).eval()
    assert all(torch.equal(value, twice.state_dict()[name]) for name, value in once.state_dict().items())
    local = {name: torch.searchsorted(middle[name], kept) for name, kept in last.items() if name in middle}
    assert all(torch.equal(kept, last[name]) for name, kept in composed(middle, local).items())


def test_a_model_with_other_weights_than_its_slices_tell_is_not_cut_again(small_task):
    traced, plan = half(small_task)
    ranking = rank(registry.load("criteria", "l1"), small_task.model, traced=traced).scores
    last = kept_slices(traced, ranking, plan)
    with pytest.raises(SurgeryError, match="as the slices before left it"):
        recut(small_task.model, traced, small_task.model, last, last)


def test_rewinding_is_exact_to_the_bit(small_task):
    frozen = dataclasses.replace(
        small_task, loss=None, distance=None
    )  # nothing is trained: what is left is what was there
    run, _, traced = training(frozen, "lottery-ticket")
    with torch.no_grad():
        run.epoch()
        for weight in run.model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        run.epoch()
    fresh = apply(small_task.model, traced, run.cut.slices)
    for name, value in fresh.named_parameters():
        mask = run.cut.masks.get(name, torch.tensor(True))
        assert torch.equal(torch.where(mask, value, 0), dict(run.model.named_parameters())[name])


def test_later_rounds_are_healed_as_the_first_one():
    torch.manual_seed(0)
    x, labels = torch.randn(300, 12), torch.arange(300) % 3
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 3))
    task = autoprune.Classification(model, data=(x, labels), example_inputs=x[:2])
    distances = {}
    for repair in ("none", "reconstruct"):
        run, plan, _ = training(task, "regularized", pattern="")
        surgeon = dataclasses.replace(run._surgeon, repair=repair)
        with torch.no_grad():
            again = surgeon.again(run.cut, plan, rewound=False).model(x)
            distances[repair] = float((again - run.model(x)).square().mean())
    assert distances["reconstruct"] < 0.8 * distances["none"]


def test_single_weights_of_a_lottery_ticket_are_those_that_training_made_large(small_task):
    frozen = dataclasses.replace(small_task, loss=None, distance=None)
    run, plan, _ = training(frozen, "lottery-ticket")
    run.epoch()
    with torch.no_grad():
        run.model.head.weight.copy_(torch.arange(48.0).view(3, 16).roll(7))
    largest = run.model.head.weight.detach().clone()
    run.epoch()
    kept = largest[:, run.cut.slices.get("conv1", torch.arange(16))]
    count = round(plan.kept["head.weight"] / 48 * kept.numel())
    wanted = torch.zeros(kept.numel(), dtype=torch.bool)
    wanted[kept.flatten().argsort(descending=True)[:count]] = True
    assert torch.equal(run.cut.masks["head.weight"], wanted.view(kept.shape))


def test_rounds_that_rewind_choose_among_the_weights_that_are_left(small_task):
    traced, plan = half(small_task, "unstructured")
    dense = autoprune.Plan.of({group.name: group.size for group in traced.open})
    middle = between(dense, plan, traced.groups, 0.5)
    rounds = [Phase(plan=each, epochs=1, rewound=each != dense) for each in (dense, middle, plan)]
    run, _, _ = training(small_task, "lottery-ticket", phases=rounds)
    for _ in rounds:
        run.epoch()
    for name, weight in run.model.named_parameters():
        if name in run.cut.masks:
            assert not weight[~run.cut.masks[name]].any()
            assert int(run.cut.masks[name].sum()) == round(weight.numel() / 2)


def test_weights_are_exchanged_in_the_users_own_training_too(small_task):
    def train(model, epoch, report):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for x, labels in small_task.split("calibration"):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    run, _, _ = training(dataclasses.replace(small_task, train=train), "sparse")
    seen = []
    for _ in range(4):
        run.epoch()
        seen.append(run.cut.masks["conv2.weight"])
        assert not run.model.conv2.weight[~seen[-1]].any()
    assert len({int(mask.sum()) for mask in seen}) == 1
    assert [torch.equal(*pair) for pair in itertools.pairwise(seen)] == [False, False, True]


def test_a_ramp_thins_out_more_and_more_and_soft_slices_grow_back(small_task):
    alive = {}
    for schedule in ("gradual", "soft"):
        run, plan, traced = training(small_task, schedule, ramp="0.5")
        run.epoch()
        kept = thinned(run.model, traced, plan)[0]
        masks = slice_masks(run.model, traced, kept)
        outside = [dict(run.model.named_parameters())[name].detach()[~mask] for name, mask in masks.items()]
        alive[schedule] = float(torch.cat([each.flatten() for each in outside]).abs().sum())
    assert alive["soft"] > alive["gradual"]


def test_a_search_by_each_schedule_ends_with_models_of_its_plans(small_task):
    for schedule in ("iterative", "gradual"):
        reporter = RecordingReporter()
        found = autoprune.search(
            small_task,
            budget="params=50%",
            trials=4,
            finetune_epochs=3,
            finetune_lr=1e-2,
            finalists=1,
            schedule=schedule,
            run=schedule,
            reporter=reporter,
        )
        model = found.best.load()
        score = small_task.score(model, "validation")["loss"].value
        assert score == pytest.approx(found.best.measurements["loss"].value, abs=1e-5)
        assert not [text for text in reporter.warnings if "fine-tuning failed" in text]


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "budget"), [("gradual", "size=60%"), ("sparse", "nonzeros=50%")])
def test_a_search_over_single_weights_ends_with_as_many_zeros_as_its_plan_says(small_task, schedule, budget):
    found = autoprune.search(
        small_task,
        budget=budget,
        space="unstructured",
        trials=2,
        finetune_epochs=3,
        finetune_lr=1e-2,
        finalists=1,
        schedule=schedule,
        run=schedule,
    ).best
    weights = dict(found.load().named_parameters())
    nonzeros = sum(weight.numel() if weight.ndim == 1 else int((weight != 0).sum()) for weight in weights.values())
    assert found.measurements["nonzeros"].value == nonzeros
    if budget == "nonzeros=50%":
        assert nonzeros <= 0.5 * sum(weight.numel() for weight in weights.values())
    assert any(count < weights[name].numel() for name, count in found.plan.keep)
    for name, count in found.plan.keep:
        assert int((weights[name] != 0).sum()) <= count


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "sparse", "finetune_epochs": 2}, "--space unstructured"),
        ({"schedule": "iterative", "finetune_epochs": 1}, "at least 2 epochs"),
        ({"schedule": "gradual", "finetune_epochs": 0}, "at least 2 epochs"),
        ({"schedule": "iteratife", "finetune_epochs": 6}, "did you mean 'iterative'"),
        ({"schedule": "iterative", "schedule_options": {"rounds": "none"}}, "whole number of at least 1"),
        ({"schedule": "iterative", "schedule_options": {"turns": "2"}}, "known: rounds, steps, last"),
        ({"schedule": "gradual", "schedule_options": {"ramp": "1.5"}}, "between 0 and 1"),
        ({"schedule": "gradual", "schedule_options": {"ramp": None}}, "between 0 and 1"),
        ({"schedule": "gradual", "schedule_options": ["ramp=0.4"]}, "by name"),
        ({"schedule_options": {"rounds": "4"}}, "options of this schedule"),
    ],
)
def test_schedules_that_do_not_fit_are_refused_before_the_search(small_task, options, words):
    with pytest.raises(UsageError, match=words):
        autoprune.search(small_task, budget="params=50%", trials=4, run="r", **options)


def test_rounds_are_as_far_as_their_steps_say():
    asked = TrainingOptions(epochs=6, schedule="iterative", schedule_options={"rounds": "3"})
    counts = [phase.plan.kept["wide"] for phase in phases_of(asked, PLAN, GROUPS)]
    shares = [after / before for before, after in zip([96, *counts], counts, strict=False)]
    assert max(shares) - min(shares) < 0.05
    linear = dataclasses.replace(asked, schedule_options={"rounds": "3", "steps": "linear"})
    counts = [phase.plan.kept["wide"] for phase in phases_of(linear, PLAN, GROUPS)]
    assert 96 - counts[0] == pytest.approx(counts[0] - counts[1], abs=1)
    cubic = dataclasses.replace(asked, schedule_options={"rounds": "2", "steps": "cubic"})
    first, last = (phase.plan.kept["wide"] for phase in phases_of(cubic, PLAN, GROUPS))
    assert 96 - first == pytest.approx(7 * (first - last), abs=7)


@pytest.mark.parametrize(
    ("schedule", "options", "epochs"),
    [
        ("gradual", {}, [1, 11]),
        ("soft", {}, [1, 11]),
        ("iterative", {}, [1, 11]),
        ("iterative", {"rounds": "3", "last": "0.5"}, [3, 3, 6]),
        ("iterative", {"rounds": "1"}, [12]),
    ],
)
def test_the_model_that_stays_has_most_of_the_epochs(schedule, options, epochs):
    asked = TrainingOptions(epochs=12, schedule=schedule, schedule_options=options)
    assert [phase.epochs for phase in phases_of(asked, PLAN, GROUPS)] == epochs


def test_layers_are_dropped_last():
    asked = TrainingOptions(epochs=6, schedule="iterative", schedule_options={"rounds": "3"})
    assert [phase.plan.kept["block"] for phase in phases_of(asked, PLAN, GROUPS)] == [1, 1, 0]


@pytest.mark.slow
def test_another_schedule_does_not_take_the_options_of_the_one_before(small_task, told):
    quick = {"budget": "params=50%", "trials": 3, "finalists": 1, "finetune_lr": 1e-2, "run": "r"}
    options = {"schedule": "iterative", "schedule_options": {"rounds": 2}}
    autoprune.search(small_task, **quick, finetune_epochs=2, **options)
    assert autoprune.finetune("r", task=small_task, finetune_epochs=2, schedule="gradual").best is not None
    found = ["finetune", "r", "--finetune-epochs", "2", "--schedule", "iterative", "--schedule-option", "rounds=2"]
    code, _, err = told(*found)
    assert code == 2
    assert "which was an object" in err  # what it was asked to do was understood
