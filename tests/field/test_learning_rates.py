"""Fine-tuning at a rate that suits the model, or that the user says."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import TaskError, UsageError
from autoprune.finetuning.check import check_training
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.learning_rates import share_at
from autoprune.finetuning.rate import RATES, find_rate
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery.cut_model import CutModel
from autoprune.testing.fakes import RecordingReporter
from tests.field.models import mlp, points

QUICK = {"budget": "params=60%", "trials": 4, "finalists": 1, "run": "r"}


class Steep(nn.Module):
    """A classifier whose weights are a thousand times as steep as they look: only low rates do not spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, 3)
        with torch.no_grad():
            for weight in self.parameters():
                weight.div_(100)

    def forward(self, x):
        body, head = (nn.functional.linear for _ in range(2))
        hidden = body(x, 100 * self.body.weight, 100 * self.body.bias).relu()
        return head(hidden, 100 * self.head.weight, 100 * self.head.bias)


def classification(model, **changes):
    data = points(600)
    return autoprune.Classification(model, data=data, example_inputs=(data[0][:2],), batch_size=16, **changes)


def test_a_steep_model_gets_a_low_rate_and_a_flat_one_a_high_one():
    torch.manual_seed(0)
    options = TrainingOptions(epochs=2)
    found = [
        find_rate(CutModel(model), classification(model), options, 0, RecordingReporter()).rate
        for model in (Steep(), mlp())
    ]
    assert found[0] < found[1] / 5


def test_a_short_training_tries_each_rate_for_a_part_of_it():
    base, seen = classification(mlp()), []

    def loss(outputs, batch):
        seen.append(outputs.requires_grad)
        return base.loss(outputs, batch)

    task = dataclasses.replace(base, loss=loss)
    found = find_rate(CutModel(task.model), task, TrainingOptions(epochs=2, steps=15), 0, RecordingReporter())
    assert sum(seen) == 10 * len(found.losses)


def test_the_rate_of_a_search_is_tried_once_and_told(tmp_path):
    reporter = RecordingReporter()
    autoprune.search(classification(mlp()), **QUICK, finetune_epochs=1, reporter=reporter)
    assert sum(text.startswith("learning rate") for text in reporter.notes) == 1
    events = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    told = [event for event in events if event["event"] == "learning rate"]
    assert len(told) == 1
    assert RATES[0] <= told[0]["rate"] <= RATES[-1]


def test_a_rate_that_is_said_is_taken_and_harm_is_told():
    reporter = RecordingReporter()
    task = classification(mlp())
    trained = Training(CutModel(task.model), task, None, TrainingOptions(epochs=15), 0)
    for _ in range(15):
        trained.epoch()
    autoprune.search(task, **QUICK, finetune_epochs=1, finetune_lr=30.0, reporter=reporter)
    assert not [text for text in reporter.notes if text.startswith("learning rate")]
    assert [text for text in reporter.notes if "training made 1 of 1 models worse" in text and "30" in text]


def test_a_tasks_own_optimizer_trains_and_goes_on_after_a_stop(tmp_path):
    base = classification(mlp())
    task = dataclasses.replace(
        base, optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    )
    check_training(task)
    models = [mlp() for _ in range(3)]
    options = TrainingOptions(epochs=3)
    whole, first, then = (Training(CutModel(model), task, None, options, 0) for model in models)
    for _ in range(3):
        whole.epoch()
    first.epoch()
    then.load(first.state(), first.done)
    then.epoch()
    then.epoch()
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[2].parameters(), strict=True))


def test_an_optimizer_that_is_none_is_refused_before_the_search():
    task = dataclasses.replace(classification(mlp()), optimizer=lambda model: model.parameters())
    with pytest.raises(TaskError, match="Task.optimizer"):
        autoprune.search(task, **QUICK, finetune_epochs=1)


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan, math.inf])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(UsageError, match="learning rate"):
        autoprune.search(classification(mlp()), **QUICK, finetune_lr=rate)


def test_rates_rise_at_first_and_end_near_zero():
    shares = [share_at(step, 100, 50) for step in range(100)]
    assert shares[0] < 0.2
    assert max(shares) == pytest.approx(1)
    assert shares.index(max(shares)) < 12
    assert shares[-1] < 0.01
