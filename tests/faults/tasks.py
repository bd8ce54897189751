"""Tasks with faults, for the command line: `tasks.py:name`."""

import ctypes
import dataclasses
import sys
import time

import numpy as np
import torch
from torch import nn

import autoprune

X = np.random.default_rng(0).normal(size=(120, 1, 6, 6)).astype("float32")
Y = np.arange(120) % 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
    ).eval()


def good():
    return autoprune.Classification(net(), data=(X, Y), example_inputs=(torch.from_numpy(X[:4]),), name="good")


def with_metric(evaluate):
    made = good()
    return autoprune.Task("faulty", made.model, made.example_inputs, made.splits, evaluate)


def returns_none():
    return with_metric(lambda model, split: None)


def returns_text():
    return with_metric(lambda model, split: "0.9")


def returns_nan():
    return with_metric(lambda model, split: float("nan"))


def returns_above_range():
    return with_metric(lambda model, split: 97.0)


def fails_when_pruned():
    def evaluate(model, split):
        if sum(p.numel() for p in model.parameters()) < 3931:
            raise RuntimeError("pruned models\nbreak my metric")
        return 0.9

    return with_metric(evaluate)


def empty():
    return autoprune.Classification(net(), data=(X[:0], Y[:0]))


def one_sample():
    return autoprune.Classification(net(), data=(X[:1], Y[:1]))


def wrong_shape():
    return autoprune.Classification(net(), data=(X, Y), example_inputs=(torch.zeros(1, 3, 6, 6),))


def nothing_to_prune():
    return autoprune.Classification(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), data=(X, Y))


def slow():
    """Each evaluation takes a moment, so that a signal arrives in the middle."""

    def evaluate(model, split):
        time.sleep(0.3)
        return 0.5

    return with_metric(evaluate)


def trains_slowly():
    """Each batch of an epoch takes a moment, so that a kill arrives in the middle of fine-tuning."""
    made = good()

    def loss(outputs, batch):
        time.sleep(0.03)
        return made.loss(outputs, batch)

    return dataclasses.replace(made, loss=loss)


def of_many_plans():
    """Enough groups that samplers have something to learn; evaluations of a moment, whose score is in the shapes."""
    torch.manual_seed(0)
    layers = [layer for k in range(5) for layer in (nn.Conv2d(32 if k else 1, 32, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 36, 3)).eval()
    made = autoprune.Classification(model, data=(X, Y), example_inputs=(torch.from_numpy(X[:4]),), name="many")

    def evaluate(model, split):
        time.sleep(0.05)
        return min(0.3 + sum(p.numel() * (k % 5 + 1) for k, p in enumerate(model.parameters())) / 400_000, 1.0)

    return autoprune.Task("many", made.model, made.example_inputs, made.splits, evaluate)


class Trap(nn.Module):
    """Does something terrible where it is narrow, in the process that measures."""

    def __init__(self, fault):
        super().__init__()
        self.net, self.fault = net(), fault

    def forward(self, x):
        main = getattr(sys.modules["__main__"], "__spec__", None)
        if self.net[2].out_channels < 24 and main is not None and main.name == "autoprune.remote.worker":
            FAULTS[self.fault]()
        return self.net(x)


def never():
    while True:
        pass


FAULTS = {"segfault": lambda: ctypes.string_at(0), "hang": never, "hunger": lambda: torch.ones(2**42)}


def trapped(fault):
    return autoprune.Classification(
        Trap(fault).eval(), data=(X, Y), example_inputs=(torch.from_numpy(X[:4]),), name=fault
    )


def segfaults():
    return trapped("segfault")


def hangs():
    return trapped("hang")


def hungers():
    return trapped("hunger")
