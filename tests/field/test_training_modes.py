"""Models that are read differently in train mode: detectors, auxiliary heads."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.errors import TaskError
from autoprune.finetuning.check import check_training
from autoprune.tasks.task import SPLITS
from autoprune.testing.fakes import RecordingReporter
from tests.field.models import Detector, TwoHeaded, detection_batches, points


def found(model, batches):
    """The share of images whose best box is where the bright spot is."""
    hits = count = 0
    for images, targets in batches:
        for detection, target in zip(model(images), targets, strict=True):
            hits += int((detection["boxes"][0, :2] - target["boxes"][0, :2]).abs().max() < 0.2)
            count += 1
    return hits / count


def detection(**changes):
    torch.manual_seed(0)
    given = {
        "forward": lambda model, batch: model(*batch) if model.training else model(batch[0]),
        "loss": lambda outputs, batch: sum(outputs.values()),
        **changes,
    }
    batches = {name: detection_batches(seed=place) for place, name in enumerate(("train", *SPLITS))}
    return autoprune.Task("spots", Detector(), (torch.zeros(2, 1, 16, 16),), batches, found, **given)


def test_a_detector_with_losses_in_train_mode_is_searched_and_fine_tuned():
    reporter = RecordingReporter()
    result = autoprune.search(
        detection(), budget="params=60%", trials=4, finetune_epochs=2, finalists=1, run="r", reporter=reporter
    )
    assert result.best is not None
    assert not [text for text in reporter.warnings if "fine-tuning failed" in text]


@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_gradients_are_taken_where_the_loss_exists(criterion):
    task = detection()
    pruned = autoprune.prune(task.model, task.example_inputs, 0.5, task=task, criterion=criterion)
    assert pruned.after["params"].value < pruned.before["params"].value
    assert not task.model.training or all(module.training for module in task.model.modules())


def test_statistics_of_a_layer_of_ones_own_stay_while_gradients_are_taken():
    class Norm(nn.BatchNorm2d):
        pass

    task = detection()
    task.model.body[1] = Norm(16)
    before = task.model.body[1].running_mean.clone()
    autoprune.prune(task.model, task.example_inputs, 0.5, task=task, criterion="taylor")
    torch.testing.assert_close(task.model.body[1].running_mean, before, rtol=0, atol=0)


def two_headed(**changes):
    torch.manual_seed(0)
    data = points()

    def accuracy(model, batches):
        return sum(float((model(x).argmax(1) == y).float().mean()) for x, y in batches) / len(batches)

    def loss(outputs, batch):
        return sum(functional.cross_entropy(each, batch[1]) for each in outputs)

    splits = dict.fromkeys(("train", *SPLITS), [data])
    return autoprune.Task("aux", TwoHeaded(), (data[0][:2],), splits, accuracy, loss=loss, **changes)


def test_an_auxiliary_head_trains_with_a_distance_that_reads_both():
    def distance(outputs, taught):
        return functional.mse_loss(outputs[0], taught)

    result = autoprune.search(
        two_headed(distance=distance), budget="params=60%", trials=4, finetune_epochs=2, finalists=1, run="r"
    )
    assert result.best is not None


def test_a_distance_that_takes_the_teacher_for_a_student_is_named_with_both_modes():
    with pytest.raises(TaskError, match="distance .* train mode and the dense model's in eval mode.*teach="):
        check_training(two_headed(distance=functional.mse_loss))


def test_what_is_distilled_from_may_be_read_in_its_own_way():
    asked = []

    def teach(model, batch):
        asked.append(model.training)
        hidden = model.body(batch[0]).relu()
        return model.head(hidden), model.aux(hidden)

    def distance(outputs, taught):
        return sum(functional.mse_loss(*pair) for pair in zip(outputs, taught, strict=True))

    check_training(two_headed(distance=distance, teach=teach))
    assert asked == [False]


def test_a_model_that_does_not_run_in_train_mode_is_refused_before_the_search():
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(8, 32), nn.Linear(32, 3)

        def forward(self, x):
            if self.training:
                raise ValueError("no targets")
            return self.head(self.body(x).relu())

    task = autoprune.Classification(Narrow(), data=points(), example_inputs=(points()[0][:2],))
    with pytest.raises(TaskError, match="train mode.*no targets"):
        autoprune.search(task, budget="params=60%", trials=2, finetune_epochs=1, run="r")


def test_a_loss_without_gradients_is_refused_before_the_search():
    with pytest.raises(TaskError, match="no gradient"):
        check_training(_detached())


def _detached():
    task = two_headed()
    return autoprune.Task(
        "detached",
        task.model,
        task.example_inputs,
        task.splits,
        task.evaluate,
        loss=lambda out, batch: out[0].sum().detach(),
    )
