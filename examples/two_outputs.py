"""A model with two outputs: which digit is it, and by how many degrees is it turned?

autoprune search examples/two_outputs.py:task --budget latency=60% --budget "error<=120%"

Searched for the accuracy; the second quality, the mean error of the angle, may grow by a fifth at most.
"""

import torch
from scenes import SHARES, digits, seeded, turned
from torch import nn
from torch.nn import functional
from training import train

import autoprune

MOST = 45.0


class Reader(nn.Module):
    """Images (N, 1, 8, 8) to a dict of logits (N, 10) and angles (N,) in units of 45 degrees."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(),
        )  # fmt: skip
        self.digit = nn.Linear(128, 10)
        self.angle = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, images):
        features = self.body(images)
        return {"digit": self.digit(features), "angle": self.angle(features)[:, 0]}


def samples(split, batch=64):
    """Batches as mappings, as many loaders give them."""
    images, labels = digits(split)
    generator = seeded(split)
    found = []
    for _ in range(3):
        degrees = MOST * (2 * torch.rand(len(labels), generator=generator) - 1)
        order = torch.randperm(len(labels), generator=generator)
        for part in order.split(batch):
            lying = turned(images[part], degrees[part])
            found.append({"images": lying, "labels": (labels[part], degrees[part] / MOST)})
    return found


def loss(outputs, batch):
    digit, angle = batch["labels"]
    return functional.cross_entropy(outputs["digit"], digit) + functional.smooth_l1_loss(outputs["angle"], angle)


def distance(outputs, taught):
    return sum(functional.mse_loss(outputs[name], taught[name]) for name in ("digit", "angle"))


def evaluate(model, batches):
    hits = count = wrong = 0
    losses = []
    for batch in batches:
        digit, angle = batch["labels"]
        outputs = model(batch["images"])
        losses.append(float(loss(outputs, batch)))
        hits, count = hits + int((outputs["digit"].argmax(1) == digit).sum()), count + len(digit)
        wrong += float((outputs["angle"] - angle).abs().sum())
    return {"accuracy": hits / count, "error": MOST * wrong / count, "loss": sum(losses) / len(losses)}


def task():
    torch.manual_seed(0)
    made = autoprune.Task(
        name="two_outputs",
        model=Reader(),
        example_inputs={"images": samples("calibration")[0]["images"][:64]},
        splits=lambda: {name: samples(name) for name in SHARES},
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("accuracy", "1", lower_is_better=False, high=1.0),
            autoprune.Metric("error", "deg", lower_is_better=True),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        loss=loss,
        distance=distance,
    )
    train(made, epochs=10, rate=4e-3)
    return made
