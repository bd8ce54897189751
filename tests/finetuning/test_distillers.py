"""Every distiller, and models that are trained by one."""

import copy
import dataclasses
import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.clock import SystemClock
from autoprune.errors import UsageError
from autoprune.finetuning.check import check_training
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.teacher import Teacher
from autoprune.finetuning.watching import Place, watching
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, apply, kept_slices, trace, twin
from autoprune.testing.distiller import DistillerConformance, distance, half
from autoprune.testing.fakes import RecordingReporter
from autoprune.training.phases import PhaseTraining
from autoprune.training.schedules import phases_of
from autoprune.training.surgeon import Surgeon

NAMES = registry.names("distillers")

for _name in NAMES:
    _kind = type(f"Test{_name.title()}", (DistillerConformance,), {"name": _name})
    globals()[_kind.__name__] = _kind


class Two(nn.Module):
    """Two layers, whose numbers can be followed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(5, 24), nn.Linear(24, 3)

    def forward(self, x):
        return self.head(self.body(x).relu())


class Convolutions(nn.Module):
    """An activation in place behind a convolution, and positions that the head does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.active = nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.active(self.body(x)).mean((2, 3)))


def task_of(model, *shape, count=64, **changes):
    torch.manual_seed(1)
    data = torch.randn(count, *shape), torch.randint(0, 3, (count,))
    task = autoprune.Classification(model.eval(), data=data, example_inputs=(data[0][:2],))
    return dataclasses.replace(task, **changes)


def cut_to(task, kept):
    """The model with some channels of its body alone."""
    traced = trace(task.model, task.example_inputs)
    group = next(each for each in traced.open if each.members[0].tensor.startswith("body"))
    slices = {group.name: torch.tensor(kept)}
    return CutModel(
        apply(task.model, traced, slices).eval(), autoprune.Plan.of({group.name: len(kept)}), slices
    ), traced


def batch_of(task):
    return next(iter(task.batches("train")))


def test_features_are_compared_at_the_channels_that_were_kept():
    torch.manual_seed(0)
    task = task_of(Two(), 5)
    student, traced = cut_to(task, [1, 4, 5])
    with torch.no_grad():
        student.model.body.weight.add_(0.3)
    batch = batch_of(task)
    x = batch[0]
    own, dense = student.model.body(x), task.model.body(x)[:, [1, 4, 5]]
    first = (own - dense).pow(2).mean() / dense.var(unbiased=False)
    own, dense = student.model(x), task.model(x)
    last = (own - dense).pow(2).mean() / dense.var(unbiased=False)
    found = distance(Teacher(task, {"features": 1.0}, traced), student, task, batch)
    assert torch.allclose(found, (first + last) / 2, rtol=1e-5)
    found.backward()
    own = student.model.body.weight.grad.clone()
    student.model.zero_grad()
    ((first + last) / 2).backward()
    assert torch.allclose(own, student.model.body.weight.grad, rtol=1e-4, atol=1e-7)


def test_what_works_in_place_does_not_change_what_was_seen():
    torch.manual_seed(0)
    task = task_of(Convolutions(), 1, 6, 6)
    student, traced = cut_to(task, [0, 2, 3])
    with torch.no_grad():
        student.model.body.bias.sub_(0.2)
    batch = batch_of(task)
    x = batch[0]
    own, dense = student.model.body(x), task.model.body(x)[:, [0, 2, 3]]
    assert float(own.detach().min()) < 0
    first = (own - dense).pow(2).mean() / dense.var(unbiased=False)
    own, dense = student.model(x), task.model(x)
    last = (own - dense).pow(2).mean() / dense.var(unbiased=False)
    found = distance(Teacher(task, {"features": 1.0}, traced), student, task, batch)
    assert torch.allclose(found, (first + last) / 2, rtol=1e-5)


def test_attention_compares_normalised_energies():
    torch.manual_seed(0)
    task = task_of(Convolutions(), 1, 6, 6)
    student, traced = cut_to(task, [0, 2])
    batch = batch_of(task)
    x = batch[0]
    maps = [model.body(x).detach().numpy() for model in (student.model, task.model)]
    energies = [(each**2).sum(1).reshape(len(x), -1) for each in maps]
    own, dense = (each / (each**2).sum(1, keepdims=True) ** 0.5 for each in energies)
    expected = ((own - dense) ** 2).sum(1).mean()
    found = distance(Teacher(task, {"attention": 1.0}, traced), student, task, batch)
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_relation_compares_similarities_of_what_enters_the_last_layer():
    torch.manual_seed(0)
    task = task_of(Two(), 5)
    student, traced = cut_to(task, [0, 2, 3, 7, 9, 20])
    batch = batch_of(task)
    x = batch[0]
    rows = [model.body(x).relu().detach().numpy() for model in (student.model, task.model)]
    grams = [each @ each.T for each in rows]
    own, dense = (each / (each**2).sum(1, keepdims=True) ** 0.5 for each in grams)
    found = distance(Teacher(task, {"relation": 1.0}, traced), student, task, batch)
    assert float(found.detach()) == pytest.approx(float(((own - dense) ** 2).sum() / len(x)), rel=1e-4)


def test_weights_multiply_distances():
    task = task_of(Two(), 5)
    student, traced = cut_to(task, [1, 4, 5])
    losses = {}
    for distill in ("none", "features", "features:0.25", "logits", "logits,features:0.25"):
        options = TrainingOptions(epochs=1, rate=1e-9, distill=distill)
        training = Training(copy.deepcopy(student), task, Teacher.of(task, options, traced), options, 0)
        losses[distill] = training.step(batch_of(task))
    features, logits = losses["features"] - losses["none"], losses["logits"] - losses["none"]
    assert features > 0
    assert losses["features:0.25"] - losses["none"] == pytest.approx(features / 4, rel=1e-3)
    assert losses["logits,features:0.25"] - losses["none"] == pytest.approx(features / 4 + logits, rel=1e-3)


def test_the_default_is_the_tasks_own_distance_and_none_without_one():
    task = task_of(Two(), 5)
    student, traced = cut_to(task, [1, 4, 5])
    batch = batch_of(task)
    x = batch[0]
    with torch.no_grad():
        expected = task.loss(student.model(x), batch) + task.distance(student.model(x), task.model(x))
    step = Training(student, task, Teacher.of(task), TrainingOptions(epochs=1, rate=1e-9), 0).step(batch)
    assert step == pytest.approx(float(expected), rel=1e-6)
    assert Teacher.of(dataclasses.replace(task, distance=None)) is None
    assert Teacher.of(task, TrainingOptions(epochs=1, distill="none"), traced) is None


def test_features_need_neither_a_distance_nor_labels():
    model = Two()
    data = [torch.randn(32, 5, generator=torch.Generator().manual_seed(0))] * 2
    task = autoprune.Task(
        "reconstruction", model, (data[0][:2],), dict.fromkeys(("calibration", "search", "validation", "test"), data),
        evaluate=lambda model, split: 1.0, loss=lambda outputs, batch: 0.0 * outputs.sum(),
    )  # fmt: skip
    student, traced = cut_to(task, [1, 4, 5])
    with torch.no_grad():
        student.model.body.weight.add_(0.5)
    options = TrainingOptions(epochs=40, rate=1e-2, distill="features")
    check_training(task, options, traced)
    teacher = Teacher.of(task, options, traced)
    before = float(distance(teacher, student, task, data[0]).detach())
    training = Training(student, task, teacher, options, 0)
    for _ in range(40):
        training.epoch()
    assert float(distance(teacher, student, task, data[0]).detach()) < before / 4


@pytest.mark.parametrize("distill", [*NAMES, "logits,features:0.5,attention,relation"])
def test_each_distiller_trains_a_cut_model(small_task, distill):
    student, traced = half(small_task)
    before = small_task.score(student.model, "test")["loss"].value
    options = TrainingOptions(epochs=6, rate=1e-2, distill=distill)
    training = Training(student, small_task, Teacher.of(small_task, options, traced), options, 0)
    for _ in range(6):
        training.epoch()
    assert small_task.score(student.model, "test")["loss"].value < before
    assert pickle.dumps(student.model)


def phased(task, distill, schedule):
    """A training in phases to half of each group."""
    traced = trace(task.model, task.example_inputs)
    plan = autoprune.Plan.of({group.name: math.ceil(group.size / 2) for group in traced.open})
    ranking = rank(registry.load("criteria", "l1"), task.model, traced=traced).scores
    surgeon = Surgeon(
        task=task, traced=traced, ranking=ranking, criterion="l1", repair="batchnorm", clock=SystemClock()
    )
    asked = TrainingOptions(epochs=4, rate=1e-2, schedule=schedule, distill=distill, criterion="l1")
    if schedule == "iterative":
        asked = dataclasses.replace(asked, schedule_options={"rounds": "3"})
    phases = phases_of(asked, plan, traced.groups)
    slices = kept_slices(traced, ranking, phases[0].plan)
    first = CutModel(apply(task.model, traced, slices).eval(), phases[0].plan, slices)
    return PhaseTraining(first, phases, surgeon, Teacher.of(task, asked, traced), asked, seed=0)


@pytest.mark.parametrize("schedule", ["one-shot", "iterative"])
@pytest.mark.parametrize("distill", [*NAMES, "logits,features:0.5,attention,relation"])
@pytest.mark.slow
def test_a_stopped_training_ends_as_an_uninterrupted_one(small_task, distill, schedule):
    whole = phased(small_task, distill, schedule)
    for _ in range(4):
        whole.epoch()
    for stopped in (1, 2, 3):
        part, rest = phased(small_task, distill, schedule), phased(small_task, distill, schedule)
        for _ in range(stopped):
            part.epoch()
        rest.load(part.state(), stopped)
        for _ in range(4 - stopped):
            rest.epoch()
        found = rest.model.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in whole.model.state_dict().items())


def test_a_student_without_a_layer_learns_from_those_that_it_has():
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

        def forward(self, x):
            return x + self.down(self.up(x).relu())

    model = nn.Sequential(nn.Linear(5, 8), Branch(), Branch(), nn.Linear(8, 3))
    task = task_of(model, 5)
    traced = trace(task.model, task.example_inputs)
    dropped = next(group.name for group in traced.open if group.kind == "layer")
    slices = {dropped: torch.arange(0)}
    student = CutModel(apply(task.model, traced, slices).eval(), autoprune.Plan.of({dropped: 0}), slices)
    found = distance(Teacher(task, {"features": 1.0}, traced), student, task, batch_of(task))
    assert float(found.detach()) > 0


def test_fused_layers_are_seen_too():
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True).eval()
    x = torch.randn(2, 4, 8)
    with torch.no_grad(), watching(layer, [Place("linear1"), Place("linear1", entering=True), Place("no.such")]) as at:
        expected = layer(x)
    assert at.keys() == {Place("linear1"), Place("linear1", entering=True)}
    assert torch.allclose(at[Place("linear1")], layer.linear1(at[Place("linear1", entering=True)]))
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-6)


def test_answers_are_kept_with_what_was_seen_within_one_limit(monkeypatch):
    from autoprune.finetuning import answers as module

    monkeypatch.setattr(module, "_KEPT", 4 * 64 * (3 + 24 + 3) + 1)  # one answer with both layers
    asked = []

    def forward(model, batch):
        asked.append(1)
        return model(batch[0])

    task = task_of(Two(), 5, count=256, forward=forward)
    traced = trace(task.model, task.example_inputs)
    teacher, student = Teacher(task, {"features": 1.0}, traced), CutModel(twin(task.model, meta=False)[0].eval())
    batches = [(torch.randn(64, 5), torch.zeros(64, dtype=torch.int64)) for _ in range(2)]
    distance(teacher, student, task, batches[0])
    asked.clear()
    distance(teacher, student, task, batches[0])
    assert len(asked) == 1  # the student
    distance(teacher, student, task, batches[1])
    asked.clear()
    distance(teacher, student, task, batches[0])
    assert len(asked) == 2  # it had to make room


class Bare(nn.Module):
    """No layer that runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(5, 24), nn.Linear(24, 5)

    def forward(self, x):
        for _ in range(2):
            x = self.narrow(self.wide(x).relu())
        return x[:, :3]


def test_scripted_parts_are_passed_over():
    body = torch.jit.script(nn.Sequential(nn.Linear(5, 24), nn.ReLU()))
    task = task_of(nn.Sequential(body, nn.Linear(24, 3)), 5)
    traced = trace(task.model, task.example_inputs)
    same = CutModel(twin(task.model, meta=False)[0].eval())
    teacher = Teacher(task, {"features": 1.0, "relation": 1.0}, traced)
    assert float(distance(teacher, same, task, batch_of(task)).detach()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "distill", "words"),
    [
        (Bare, "features", "convolutions or linear layers that run once for a batch for the distiller 'features'"),
        (Two, "logits,attention", "linear layers of tokens.*'attention'"),
        (Two, "logitz", "did you mean 'logits'"),
        (Two, "logits,features:much", "a positive number as the weight of 'features'"),
        (Two, "features:-1", "a positive number"),
        (Two, "features:nan", "a positive number"),
        (Two, "features,features:2", "each once"),
        (Two, "", "distillers by name"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_search(hurried, model, distill, words):
    with pytest.raises(UsageError, match=words):
        autoprune.search(task_of(model(), 5), budget="params=90%", trials=2, run="r", distill=distill)
    assert not Path("r").exists()


def test_logits_among_others_need_a_distance(hurried):
    task = task_of(Two(), 5, distance=None)
    with pytest.raises(UsageError, match="a task with a distance"):
        autoprune.search(task, budget="params=90%", trials=2, run="r", distill="logits,features")


def test_batches_of_one_sample_have_no_relations(hurried):
    task = task_of(Two(), 5).with_split("train", [(torch.randn(1, 5), torch.zeros(1, dtype=torch.int64))])
    with pytest.raises(UsageError, match="batches of several samples"):
        check_training(task, TrainingOptions(epochs=1, distill="relation"), trace(task.model, task.example_inputs))


def test_a_search_distils_records_how_and_goes_on(small_task):
    reporter = RecordingReporter()
    options = {"finetune_epochs": 2, "finalists": 1, "reporter": reporter}
    found = autoprune.search(
        small_task, budget="params=50%", trials=2, run="r", distill="logits,features:0.5", **options
    )
    assert "distill: logits,features:0.5" in Path("r/run.yaml").read_text()
    assert found.best is not None
    again = autoprune.resume("r", task=small_task, distill="attention", reporter=reporter)
    assert "distill: attention" in Path("r/run.yaml").read_text()
    model = again.best.load()
    score = small_task.score(model, "validation")["loss"].value
    assert score == pytest.approx(again.best.measurements["loss"].value, abs=1e-5)
    epochs = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "epoch" for event in epochs) >= 4
    assert not [text for text in reporter.warnings if "fine-tuning failed" in text]
    assert functional.cross_entropy(model(batch_of(small_task)[0]), batch_of(small_task)[1]) >= 0


def test_progressive_learns_from_the_model_of_the_last_round(small_task):
    asked, models, taught = [], [], {}

    def teach(model, batch):
        asked.append(copy.deepcopy(model.state_dict()))
        return model(batch[0])

    run = phased(dataclasses.replace(small_task, teach=teach), "progressive", "iterative")
    for _ in range(4):
        asked.clear()
        models.append((run.cut.plan, copy.deepcopy(run.model.state_dict())))
        run.epoch()
        taught = asked[-1] if asked else taught  # what was answered before is not asked again
        before = [state for plan, state in models if plan != run.cut.plan]
        wanted = before[-1] if before else small_task.model.state_dict()
        assert {name: value.shape for name, value in taught.items()} == {n: v.shape for n, v in wanted.items()}
        assert all(torch.allclose(value, wanted[name]) for name, value in taught.items())
    assert len({plan for plan, _ in models}) == 3


def test_progressive_is_refused_where_all_is_cut_at_once(small_task):
    with pytest.raises(UsageError, match=r"several rounds for the distiller 'progressive'; received 'one-shot'"):
        autoprune.search(small_task, budget="params=50%", trials=4, run="r", distill="progressive")
    found = autoprune.search(
        small_task, budget="params=50%", trials=4, run="r", distill="logits,progressive", schedule="iterative",
        finetune_epochs=3, finalists=1, finetune_lr=1e-2,
    )  # fmt: skip
    assert found.best.load() is not None
