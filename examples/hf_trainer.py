"""The `Trainer` of transformers, in which a vision transformer gets smaller while it is trained.

    python examples/hf_trainer.py

Needs `pip install transformers accelerate`.
"""

import tempfile

import torch
from own_loop import data
from transformers import Trainer, TrainingArguments
from vit import network

import autoprune
from autoprune.training.transformers_callback import PrunerCallback

STEPS = 400


class Digits(torch.utils.data.Dataset):
    """Samples as the trainer wants them."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return {"pixel_values": self.images[place], "labels": self.labels[place]}


def train(keep=0.5, schedule="gradual", folder="runs"):
    """The model that the trainer leaves, and the smaller one."""
    torch.manual_seed(0)
    (images, labels), _ = data()
    model = network()
    pruner = autoprune.Pruner(
        model, images[:1], keep=keep, schedule=schedule, steps=STEPS, outputs="logits",
        only="mlp",  # so that the configuration can say what is left, and layer norms see the width that they did
    )  # fmt: skip
    arguments = TrainingArguments(
        folder, max_steps=STEPS, per_device_train_batch_size=64, learning_rate=2e-3, lr_scheduler_type="cosine",
        warmup_steps=STEPS // 10, use_cpu=True, report_to=[], save_strategy="no",
    )  # fmt: skip
    Trainer(model, arguments, train_dataset=Digits(images, labels), callbacks=[PrunerCallback(pruner)]).train()
    return model, pruner.finish()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        thinned, pruned = train(folder=folder)
    images, labels = data()[1]
    with torch.no_grad():
        for name, model in (("with zeros", thinned), ("when cut", pruned.model)):
            right = model.eval()(images).logits.argmax(1) == labels
            print(f"accuracy {name} {float(right.float().mean()):.3f}")
    print(pruned.summary())
