"""MNIST-1D: which of ten digits is this noisy line of forty points? (Greydanus and Kobak 2024)

    autoprune search examples/real/mnist1d.py:task --budget latency=50%

The data is drawn as the package of its authors draws it, number by number, so that published scores compare: of 1000
test samples a convolutional network has 94 % right, a recurrent one 91, a perceptron 68, people 96. Needs nothing
beside autoprune; the network is trained in a minute or so the first time.
"""

import numpy as np
import torch
from kept import once, trained
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter
from torch import nn

import autoprune

POINTS, EPOCHS, RATE = 40, 60, 4e-3
#: Heights of each digit's line.
STROKES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5), (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5), (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5), (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5), (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5), (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)  # fmt: skip


def stretched(line, points):
    return interp1d(np.linspace(0, 1, len(line)), line)(np.linspace(0, 1, points))


def drawn(stroke, rng):
    """One line: padded, scaled, moved, in noise that is correlated where there is no stroke, and sheared."""
    line = stretched(np.concatenate([stroke + 1e-8, np.zeros(36 + int(rng.rand() * 25))]), 72)
    line = line * (1 + 0.4 * (rng.rand() - 0.5))
    moved = rng.choice(48)
    line = np.concatenate([line[-moved:], line[:-moved]])
    line = np.where(line != 0, line, gaussian_filter(0.25 * rng.randn(72), 2)) + 2e-2 * rng.randn(72)
    return stretched(line - 0.75 * (rng.rand() - 0.5) * np.linspace(-0.5, 0.5, 72), POINTS)


def draw():
    """Lines (5000, 1, 40) and their digits (5000,), of which the last 1000 are the published test split."""
    strokes = np.array(STROKES)
    strokes = (strokes - strokes.mean(1, keepdims=True)) / strokes.std(1, keepdims=True)
    strokes = (strokes - strokes[:, :1]) / 6
    rng = np.random.RandomState(42)
    lines = np.stack([drawn(stroke, rng) for stroke in strokes for _ in range(500)])
    order = rng.permutation(len(lines))
    lines = ((lines - lines.mean()) / lines.std())[order]
    digits = np.repeat(np.arange(10), 500)[order]
    return {"lines": torch.from_numpy(lines).float()[:, None], "digits": torch.from_numpy(digits)}


def network(width=64):
    layers = []
    for consumed, produced in ((1, width), (width, width), (width, 2 * width)):
        layers += [nn.Conv1d(consumed, produced, 5, 2, 2, bias=False), nn.BatchNorm1d(produced), nn.ReLU()]
        layers.append(nn.Dropout(0.1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 5, 128), nn.ReLU(), nn.Linear(128, 10))


def task():
    found = once("mnist1d", draw)
    ends = {"train": 3000, "calibration": 3200, "search": 3600, "validation": 4000, "test": 5000}
    begins = (0, *ends.values())
    splits = {
        name: (found["lines"][begin:end], found["digits"][begin:end])
        for begin, (name, end) in zip(begins, ends.items(), strict=False)
    }
    torch.manual_seed(0)
    made = autoprune.Classification(
        network(), splits=splits, example_inputs=splits["calibration"][0][:128], name="mnist1d"
    )
    trained(made, EPOCHS, RATE)
    return made
