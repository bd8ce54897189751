"""A user's own scheduler and augmentation of our training, and what it computes in."""

import copy
import dataclasses

import pytest
import torch
from torch.optim import lr_scheduler

import autoprune
from autoprune.errors import TaskError, UsageError
from autoprune.finetuning.finetune import Training
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery.cut_model import CutModel


def searched(task, **options):
    usual = {"budget": "params=60%", "trials": 3, "finalists": 1, "finetune_epochs": 2, "run": "r"}
    return autoprune.search(task, **usual | options)


def test_a_users_scheduler_sets_the_rate_of_each_step_wherever_training_goes_on(small_task):
    seen = []

    class Noting(torch.optim.SGD):
        def step(self, closure=None):
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    task = dataclasses.replace(
        small_task,
        optimizer=lambda model: Noting(model.parameters(), 0.1),
        scheduler=lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps),
    )
    options, length = TrainingOptions(epochs=3), len(task.split("train"))
    first, then = (Training(CutModel(copy.deepcopy(task.model)), task, None, options, 0) for _ in range(2))
    first.epoch()
    then.load(first.state(), 1)
    then.epoch()
    then.epoch()
    assert seen == pytest.approx([0.1 * (1 - step / (3 * length)) for step in range(3 * length)])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda optimizer, steps: None, "Task.scheduler to return a torch scheduler"),
        (lambda optimizer, steps: lr_scheduler.ReduceLROnPlateau(optimizer), "needs no metric"),
        (lambda optimizer: None, "take as many steps as the function is told"),
        (3, "a callable scheduler"),
    ],
)
def test_what_is_no_scheduler_is_refused_before_the_search(small_task, made, words):
    with pytest.raises(TaskError, match=words):
        searched(dataclasses.replace(small_task, scheduler=made))


def test_batches_are_augmented_anew_for_student_and_teacher(small_task):
    seen, taught = [], []

    def augment(batch):
        images, labels = batch
        seen.append(images + 0.1 * torch.randn_like(images))
        return seen[-1], labels

    def teach(model, batch):
        taught.append(batch[0])
        return model(batch[0])

    scored = []
    evaluate = small_task.evaluate
    task = dataclasses.replace(
        small_task,
        augment=augment,
        teach=teach,
        evaluate=lambda model, batches: scored.extend(batches) or evaluate(model, batches),
    )
    searched(task, finetune_lr=1e-2)
    length = len(task.split("train"))
    epochs = seen[-2 * length :]
    assert all(torch.equal(one, other) for one, other in zip(epochs, taught[-2 * length :], strict=True))
    assert not torch.equal(epochs[0], epochs[length])
    assert not any(torch.equal(one[0], other) for one in scored for other in seen if one[0].shape == other.shape)


def test_augmentation_is_the_same_from_the_same_seed(small_task):
    task = dataclasses.replace(small_task, augment=lambda batch: (batch[0] + torch.randn_like(batch[0]), batch[1]))
    found = []
    for _ in range(2):
        training = Training(CutModel(copy.deepcopy(task.model)), task, None, TrainingOptions(epochs=1), 0)
        training.epoch()
        found.append(training.model.state_dict())
        torch.rand(5)
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize(
    ("augment", "words"),
    [(lambda batch: None, "received None"), (lambda batch: batch["image"], "Task.augment to return")],
)
def test_an_augmentation_that_makes_no_batch_is_refused_before_the_search(small_task, augment, words):
    with pytest.raises(TaskError, match=words):
        searched(dataclasses.replace(small_task, augment=augment))


def test_what_task_train_does_not_use_is_refused(small_task):
    task = dataclasses.replace(small_task, train=lambda model, epoch, report: None, augment=lambda batch: batch)
    with pytest.raises(TaskError, match=r"received augment=; leave them out: Task\.train has its own"):
        searched(task)


def test_training_in_bfloat16_keeps_the_weights_as_they_were_stored(small_task):
    seen = []

    def forward(model, batch):
        outputs = model(batch[0])
        if model.training:
            seen.append(outputs.dtype)
        return outputs

    task = dataclasses.replace(small_task, forward=forward)
    found = searched(task, finetune_precision="bfloat16", finetune_lr=1e-2)
    assert seen[-1] == torch.bfloat16
    assert {each.dtype for each in found.best.load().parameters()} == {torch.float32}


def test_a_precision_that_training_has_not_is_refused(small_task):
    with pytest.raises(UsageError, match="finetune_precision float32 or bfloat16"):
        searched(small_task, finetune_precision="float8")
