"""A recogniser of lines of digits: convolutions, a bidirectional LSTM, and connectionist temporal classification.

autoprune search examples/ctc.py:task --budget latency=60%

The quality is the character error rate, of which less is better.
"""

import torch
from levenshtein import edits
from scenes import rows
from torch import nn
from torch.nn import functional
from training import train

import autoprune

BLANK = 10


class Recogniser(nn.Module):
    """Lines (N, 1, 16, W) to log probabilities (N, W / 2, 11) (Shi et al. 2015)."""

    def __init__(self):
        super().__init__()
        layers = []
        for consumed, produced, pool in ((1, 24, (2, 2)), (24, 48, (2, 1)), (48, 64, (2, 1))):
            layers += [nn.Conv2d(consumed, produced, 3, 1, 1, bias=False), nn.BatchNorm2d(produced), nn.ReLU()]
            layers.append(nn.MaxPool2d(pool))
        self.columns = nn.Sequential(*layers)
        self.recurrent = nn.LSTM(2 * 64, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * 64, BLANK + 1)

    def forward(self, lines):
        columns = self.columns(lines).flatten(1, 2).mT
        return self.head(self.recurrent(columns)[0]).log_softmax(-1)


def loss(outputs, batch):
    _, labels, lengths = batch
    steps = torch.full((len(outputs),), outputs.shape[1])
    return functional.ctc_loss(outputs.transpose(0, 1), labels, steps, lengths, blank=BLANK, zero_infinity=True)


def distance(outputs, taught):
    return functional.kl_div(outputs.flatten(0, 1), taught.flatten(0, 1), reduction="batchmean", log_target=True)


def evaluate(model, batches):
    wrong = total = 0
    losses = []
    for lines, labels, lengths in batches:
        outputs = model(lines)
        losses.append(float(loss(outputs, (lines, labels, lengths))))
        for best, label, length in zip(outputs.argmax(-1), labels, lengths, strict=True):
            said = [each for each in torch.unique_consecutive(best).tolist() if each != BLANK]
            wrong, total = wrong + edits(said, label[:length].tolist()), total + int(length)
    return {"cer": wrong / total, "loss": sum(losses) / len(losses)}


def task():
    torch.manual_seed(0)
    made = autoprune.Task(
        name="ctc",
        model=Recogniser(),
        example_inputs=(rows("calibration")[0][0],),
        splits=lambda: {name: rows(name) for name in ("train", "calibration", "search", "validation", "test")},
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("cer", "1", lower_is_better=True),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        loss=loss,
        distance=lambda outputs, taught: (
            functional.kl_div(outputs, taught, reduction="batchmean", log_target=True) / 24
        ),
    )
    train(made, epochs=15, rate=4e-3)
    return made
