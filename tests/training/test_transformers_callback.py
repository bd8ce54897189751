"""Pruning in the Trainer of transformers, beside a plain loop."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.errors import StorageError, UsageError
from tests.training.own_loop import Net, X, batches, outputs, trained

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import Trainer, TrainingArguments

from autoprune.training.transformers_callback import PrunerCallback

STEPS = 24


class Wrapped(nn.Module):
    """A model as trainers want them: it returns its loss."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x, labels=None):
        logits = self.net(x)
        if labels is None:
            return logits
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


SAMPLES = [
    {"x": x, "labels": label} for images, labels in batches(STEPS) for x, label in zip(images, labels, strict=True)
]


class InOrder(Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(SAMPLES)


def trainer(model, pruner, folder, **options):
    arguments = {"max_steps": STEPS, "per_device_train_batch_size": 16, "max_grad_norm": 0, "save_strategy": "no"}
    return InOrder(
        model,
        TrainingArguments(
            str(folder), lr_scheduler_type="constant", use_cpu=True, report_to=[], disable_tqdm=True,
            **(arguments | options),
        ),
        train_dataset=SAMPLES,
        optimizers=(torch.optim.Adam(model.parameters(), 0.01), None),
        callbacks=[PrunerCallback(pruner)],
    )  # fmt: skip


def pruner_of(model, schedule="gradual", **options):
    return autoprune.Pruner(model, X, keep=0.5, schedule=schedule, **({"steps": STEPS} | options))


@pytest.mark.parametrize("schedule", ["gradual", "lottery-ticket"])
def test_the_trainer_gives_the_plain_loops_weights(schedule, tmp_path):
    plain, model = Net(), Wrapped()
    pruner = pruner_of(model, schedule)
    trainer(model, pruner, tmp_path).train()
    trained(plain, own := pruner_of(plain, schedule), STEPS)
    for name, value in plain.state_dict().items():
        assert torch.allclose(model.net.state_dict()[name], value, atol=1e-5)
    assert torch.allclose(outputs(pruner.finish().model), outputs(own.finish().model), atol=1e-5)


def test_accumulated_gradients_are_one_step(tmp_path):
    plain, model = Net(), Wrapped()
    pruner = pruner_of(model, steps=STEPS // 2)
    trainer(model, pruner, tmp_path, max_steps=STEPS // 2, gradient_accumulation_steps=2).train()
    trained(plain, pruner_of(plain, steps=STEPS // 2), STEPS // 2, accumulate=2)
    assert torch.allclose(outputs(model.net), outputs(plain), atol=1e-5)


@pytest.mark.slow
def test_a_trainer_goes_on_from_its_checkpoint(tmp_path):
    whole = Wrapped()
    first = trainer(whole, pruner_of(whole, "soft"), tmp_path, save_strategy="steps", save_steps=8)
    first.train()
    part = Wrapped()
    pruner = pruner_of(part, "soft")
    trainer(part, pruner, tmp_path, save_strategy="steps", save_steps=8).train(str(tmp_path / "checkpoint-8"))
    assert all(torch.equal(value, part.state_dict()[name]) for name, value in whole.state_dict().items())
    assert pruner.done == STEPS


def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path):
    model = Wrapped()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError, match="a trainer that takes 24 steps; received one that takes 12"):
        trainer(model, pruner_of(model, "lottery-ticket"), tmp_path, max_steps=12).train()
    with pytest.raises(UsageError, match="the same object"):
        trainer(model, pruner_of(Wrapped(), "lottery-ticket"), tmp_path).train()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_without_a_pruner_is_refused(tmp_path):
    model = Wrapped()
    kept = trainer(model, pruner_of(model), tmp_path, save_strategy="steps", save_steps=8)
    kept.train()
    (tmp_path / "checkpoint-8" / "pruner.safetensors").unlink()
    again = Wrapped()
    with pytest.raises(StorageError, match="go on from a checkpoint that was kept with this callback"):
        trainer(again, pruner_of(again), tmp_path).train(str(tmp_path / "checkpoint-8"))
