"""A network that never has more than a tenth of its weights, in whatever places training finds best (RigL).

python examples/sparse_training.py
"""

import torch
from own_loop import BATCH, accuracy, data, network
from torch import nn

import autoprune

EPOCHS = 12


def train(keep=0.1, schedule="sparse"):
    """Train from scratch with few weights; the pruned model, and which weights were ever there."""
    torch.manual_seed(0)
    (images, labels), _ = data()
    model = network()
    batches = len(images) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * batches)
    pruner = autoprune.Pruner(
        model, images[:1], keep=keep, pattern="unstructured", scope="erdos-renyi", schedule=schedule,
        epochs=EPOCHS, steps_per_epoch=batches,
    )  # fmt: skip
    ever = {name: mask.clone() for name, mask in autoprune.masks(model).items()}
    for epoch in range(EPOCHS):
        model.train()
        for part in torch.randperm(len(images))[: batches * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[part]), labels[part])
            loss.backward()
            optimizer.step()
            rates.step()
            pruner.step()
        for name, mask in autoprune.masks(model).items():
            ever[name] |= mask
        print(f"epoch {epoch + 1}: loss {float(loss.detach()):.3f}")
    return pruner.finish(), ever


if __name__ == "__main__":
    pruned, ever = train()
    print(f"accuracy {accuracy(pruned.model, *data()[1]):.3f}")
    for name, mask in autoprune.masks(pruned.model).items():
        now, tried = (float(each.float().mean()) for each in (mask, ever[name]))
        print(f"{name}: {now:.1%} of the weights, {tried:.1%} were tried")
