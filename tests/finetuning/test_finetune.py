import copy
import dataclasses

import pytest
import torch

from autoprune.finetuning.finetune import Training, finetune
from autoprune.finetuning.teacher import Teacher
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import trace
from autoprune.surgery.cut_model import CutModel


def test_training_lowers_the_loss_and_leaves_teacher_and_mode_alone(small_task):
    before = small_task.score(small_task.model, "test")["loss"].value
    dense = {name: tensor.clone() for name, tensor in small_task.model.state_dict().items()}
    model, epochs = copy.deepcopy(small_task.model), []
    finetune(CutModel(model), small_task, None, TrainingOptions(epochs=30), 0, epochs.append)
    assert small_task.score(model, "test")["loss"].value < before / 2
    assert len(epochs) == 30
    assert not model.training
    assert all(torch.equal(dense[name], tensor) for name, tensor in small_task.model.state_dict().items())


def test_a_student_comes_closer_to_its_teacher(small_task):
    finetune(CutModel(small_task.model), small_task, None, TrainingOptions(epochs=30), 0, lambda text: None)
    student = copy.deepcopy(small_task.model)
    with torch.no_grad():
        student.head.weight.zero_()
    finetune(CutModel(student), small_task, Teacher.of(small_task), TrainingOptions(epochs=30), 0, lambda text: None)
    x = next(iter(small_task.split("test")))[0]
    with torch.no_grad():
        assert (student(x).argmax(1) == small_task.model(x).argmax(1)).float().mean() > 0.9


def test_a_task_without_a_loss_or_a_distance_is_left_untrained(small_task):
    task = dataclasses.replace(small_task, loss=None, distance=None)
    before = task.model.head.weight.clone()
    finetune(CutModel(task.model), task, Teacher.of(task), TrainingOptions(epochs=3), 0, lambda text: None)
    assert torch.equal(before, task.model.head.weight)


@pytest.mark.parametrize(("distill", "distance"), [("logits", True), ("features", False)])
def test_a_task_without_a_loss_learns_from_the_dense_model_alone(small_task, distill, distance):
    wrong = [(x, torch.zeros_like(labels)) for x, labels in small_task.split("train")]
    task = dataclasses.replace(small_task.with_split("train", wrong), loss=None)
    task = task if distance else dataclasses.replace(task, distance=None)
    options = TrainingOptions(epochs=10, distill=distill)
    student = copy.deepcopy(small_task.model)
    with torch.no_grad():
        student.head.weight.zero_()
    x = next(iter(small_task.split("test")))[0]
    dense = small_task.model(x).detach()
    before = (student(x) - dense).square().mean()
    teacher = Teacher.of(task, options, trace(task.model, task.example))
    finetune(CutModel(student), task, teacher, options, 0, lambda text: None)
    assert (student(x) - dense).square().mean() < 0.5 * before


def test_a_batch_that_compares_nothing_is_passed_over_without_a_loss(small_task):
    lone = [(x[:1], labels[:1]) for x, labels in small_task.split("train")]
    task = dataclasses.replace(small_task.with_split("train", lone), loss=None, distance=None)
    options = TrainingOptions(epochs=1, distill="relation")
    before = task.model.head.weight.clone()
    finetune(CutModel(task.model), task, Teacher.of(task, options), options, 0, lambda text: None)
    assert torch.equal(before, task.model.head.weight)


def test_one_seed_gives_one_result_whatever_happened_before(small_task):
    results = []
    for _ in range(2):
        model = copy.deepcopy(small_task.model)
        finetune(CutModel(model), small_task, None, TrainingOptions(epochs=2), 0, lambda text: None)
        results.append(model.head.weight.detach())
        torch.rand(7)
    assert torch.equal(*results)


def test_resumed_training_ends_as_an_uninterrupted_one(small_task):
    whole, part, rest = (copy.deepcopy(small_task.model) for _ in range(3))
    finetune(CutModel(whole), small_task, None, TrainingOptions(epochs=3), 0, lambda text: None)
    first, then = (Training(CutModel(model), small_task, None, TrainingOptions(epochs=3), 0) for model in (part, rest))
    first.epoch()
    then.load(first.state(), first.done)
    then.epoch()
    then.epoch()
    assert all(torch.equal(tensor, rest.state_dict()[name]) for name, tensor in whole.state_dict().items())
