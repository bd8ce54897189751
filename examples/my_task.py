"""A task of your own: a model, its data, a metric.

    autoprune search examples/my_task.py:task --budget latency=50%

`task()` is called by autoprune, also in the processes that measure, so it should return the same model every time: load
your weights here. This example trains a small network the first time, and loads it from then on.
"""

from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from sklearn.datasets import load_digits
from torch import nn

import autoprune


class Net(nn.Module):
    """Grey images (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(64 * 16, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def task() -> autoprune.Task:
    digits = load_digits()
    images, labels = torch.tensor(digits.images).float()[:, None] / 16, torch.tensor(digits.target)
    torch.manual_seed(0)
    made = autoprune.Classification(Net(), data=(images, labels), example_inputs=(images[:8],), name="my-task")
    trained(made)
    return made


def trained(made: autoprune.Task) -> None:
    weights = Path(__file__).with_suffix(".safetensors")
    if weights.exists():
        load_model(made.model, weights)
    else:
        train(made)
        save_model(made.model, str(weights))


def train(made: autoprune.Task, epochs: int = 3) -> None:
    optimizer = torch.optim.Adam(made.model.parameters(), 3e-3)
    made.model.train()
    for _ in range(epochs):
        for batch in made.split("train"):
            optimizer.zero_grad()
            made.loss(made.model(batch[0]), batch).backward()
            optimizer.step()
    made.model.eval()
