"""A plain training loop, as users write them: a small network with BatchNorm, its data, its optimizer."""

import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        labels = torch.randint(0, 3, (16,), generator=generator)
        x = 0.3 * torch.randn(16, 1, 6, 6, generator=generator)
        x[labels == 0, :, ::2] += 1
        x[labels == 1, :, :, ::2] += 1
        yield x, labels


X = next(batches(1, seed=9))[0]


def adam(model):
    return torch.optim.Adam(model.parameters(), 0.01)


def trained(model, pruner, steps, optimizer=None, start=0, accumulate=1):
    """Steps of the optimizer, each over as many batches as are accumulated."""
    optimizer = optimizer or adam(model)
    model.train()
    for place, (x, labels) in enumerate(batches((start + steps) * accumulate)):
        if place < start * accumulate:
            continue
        loss = functional.cross_entropy(model(x), labels)
        ((loss + pruner.penalty(loss)) / accumulate).backward()
        if (place + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            pruner.step()
    return optimizer


def outputs(model):
    with torch.no_grad():
        return model.eval()(X)
