"""Fine-tuning that ends where the search split gains no more, with its best epoch."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import UsageError
from autoprune.finetuning.best_epoch import BestEpoch, taken
from autoprune.finetuning.finetune import Training
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery.cut_model import CutModel

QUICK = {"budget": "params=60%", "trials": 4, "finalists": 1, "run": "r", "finetune_epochs": 9}


def test_training_ends_after_so_many_epochs_without_gain_and_the_best_one_is_kept(small_task):
    trained = []

    def train(model, epoch, report):
        trained.append(epoch)
        if epoch == 1:
            optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
            for _ in range(5):
                for images, labels in small_task.split("train"):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(images), labels).backward()
                    optimizer.step()
        elif epoch > 1:
            with torch.no_grad():
                model.head.weight.mul_(-1)

    task = dataclasses.replace(small_task, train=train)
    found = autoprune.search(task, **QUICK, finetune_patience=2)
    assert set(trained) == {0, 1, 2, 3}
    assert task.score(found.best.load(), "validation")["accuracy"].value > 0.9


def test_training_goes_on_from_the_last_epoch_and_not_from_the_best(small_task):
    options = TrainingOptions(epochs=3)
    whole, part, rest = (
        Training(CutModel(copy.deepcopy(small_task.model)), small_task, None, options, 0) for _ in range(3)
    )
    whole.epoch(), part.epoch()
    best = BestEpoch.of(1, {}, part.state())
    whole.epoch(), part.epoch()
    kept = best.put(part.state())
    assert all(torch.equal(kept[name], value) for name, value in best.weights.items())
    state, again = taken(kept, {})
    rest.load(state, 2)
    whole.epoch(), rest.epoch()
    assert again.number == 1
    assert all(torch.equal(value, rest.state()[name]) for name, value in whole.state().items())


def test_a_patience_that_is_none_is_refused(small_task):
    with pytest.raises(UsageError, match="finetune_patience of at least 0"):
        autoprune.search(small_task, **QUICK, finetune_patience=-1)
