"""A training loop as people have it, in which a network is trained from scratch and gets smaller on the way.

python examples/own_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import autoprune

EPOCHS, BATCH = 12, 64


def network():
    """Two convolutions and a classifier."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Flatten(), nn.Linear(48 * 16, 10),
    )  # fmt: skip


def data():
    """Images (N, 1, 8, 8) and labels (N,): three quarters to train on, and the rest."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], torch.tensor(digits.target)[order]
    middle = len(images) * 3 // 4
    return (images[:middle], labels[:middle]), (images[middle:], labels[middle:])


def accuracy(model, images, labels):
    with torch.no_grad():
        return float((model.eval()(images).argmax(1) == labels).float().mean())


def train(keep=0.5, schedule="gradual"):
    """Train and prune at once; the model with zeros in it, and the smaller one."""
    torch.manual_seed(0)
    (images, labels), _ = data()
    model = network()
    batches = len(images) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * batches)
    pruner = autoprune.Pruner(model, images[:1], keep=keep, schedule=schedule, epochs=EPOCHS, steps_per_epoch=batches)
    for epoch in range(EPOCHS):
        model.train()
        for part in torch.randperm(len(images))[: batches * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[part]), labels[part])
            loss.backward()
            optimizer.step()
            rates.step()
            pruner.step()  # the only line that is not in every loop
        print(f"epoch {epoch + 1}: loss {float(loss.detach()):.3f}")
    return model, pruner.finish()


if __name__ == "__main__":
    dense, pruned = train()
    _, test = data()
    print(f"accuracy with zeros {accuracy(dense, *test):.3f}, when cut {accuracy(pruned.model, *test):.3f}")
    print(pruned.summary())
