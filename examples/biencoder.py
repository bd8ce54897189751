"""A bi-encoder: two towers that put an upright digit and the same one lying on its side near each other.

autoprune search examples/biencoder.py:task --budget latency=60%

Searched for how often the nearest of a batch's candidates is the right one (recall at 1).
"""

import torch
from scenes import SHARES, digits, seeded, turned
from torch import nn
from torch.nn import functional
from training import train

import autoprune

TEMPERATURE = 0.1


def tower():
    layers = [nn.Conv2d(1, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(), nn.Linear(128, 48))


class BiEncoder(nn.Module):
    """Queries and candidates (N, 1, 8, 8) each to unit vectors (N, 48)."""

    def __init__(self):
        super().__init__()
        self.queries, self.candidates = tower(), tower()

    def forward(self, queries, candidates):
        towers = (self.queries(queries), self.candidates(candidates))
        return tuple(functional.normalize(each, dim=-1) for each in towers)


def pairs(split, batch=64):
    """Batches of (queries, candidates): the same digits, each with noise of its own, and one of them lying."""
    images, _ = digits(split)
    generator = seeded(split)
    found = []
    for _ in range(3):
        for part in images[torch.randperm(len(images), generator=generator)].split(batch):
            queries, lying = (0.1 * torch.randn(part.shape, generator=generator) for _ in range(2))
            found.append((part + queries, turned(part, torch.full((len(part),), 90.0)) + lying))
    return found


def contrast(outputs):
    alike = outputs[0] @ outputs[1].T / TEMPERATURE
    right = torch.arange(len(alike))
    return (functional.cross_entropy(alike, right) + functional.cross_entropy(alike.T, right)) / 2


def evaluate(model, batches):
    hits = count = 0
    losses = []
    for batch in batches:
        outputs = model(*batch)
        losses.append(float(contrast(outputs)))
        best = (outputs[0] @ outputs[1].T).argmax(1)
        hits, count = hits + int((best == torch.arange(len(best))).sum()), count + len(best)
    return {"recall": hits / count, "loss": sum(losses) / len(losses)}


def task():
    torch.manual_seed(0)
    made = autoprune.Task(
        name="biencoder",
        model=BiEncoder(),
        example_inputs=tuple(each[:64] for each in pairs("calibration")[0]),
        splits=lambda: {name: pairs(name) for name in SHARES},
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("recall", "1", lower_is_better=False, high=1.0),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        forward=lambda model, batch: model(*batch),
        loss=lambda outputs, batch: contrast(outputs),
        distance=lambda outputs, taught: sum(map(functional.mse_loss, outputs, taught)),
    )
    train(made, epochs=10, rate=2e-3)
    return made
