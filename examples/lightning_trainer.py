"""The `Trainer` of Lightning, in which a network gets smaller while it is trained.

    python examples/lightning_trainer.py

Needs `pip install lightning`.
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from own_loop import BATCH, accuracy, data, network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.training.lightning_callback import PrunerCallback

EPOCHS = 12


class Module(LightningModule):
    """A network with its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 3e-3)


def train(keep=0.5, schedule="gradual"):
    """The module that the trainer leaves, and the smaller network."""
    torch.manual_seed(0)
    (images, labels), _ = data()
    module, loader = Module(), DataLoader(TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True)
    pruner = autoprune.Pruner(
        module.net, images[:1], keep=keep, schedule=schedule, epochs=EPOCHS, steps_per_epoch=len(loader)
    )
    trainer = Trainer(
        max_epochs=EPOCHS, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        callbacks=[PrunerCallback(pruner)],
    )  # fmt: skip
    trainer.fit(module, loader)
    return module.net, pruner.finish()


if __name__ == "__main__":
    thinned, pruned = train()
    test = data()[1]
    print(f"accuracy with zeros {accuracy(thinned, *test):.3f}, when cut {accuracy(pruned.model, *test):.3f}")
    print(pruned.summary())
