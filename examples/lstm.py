"""A recurrent classifier of plain torch: which module of the standard library do these 48 bytes come from?

autoprune search examples/lstm.py:task --budget latency=60%
"""

import torch
from source_code import MODULES, windows
from torch import nn
from training import train

import autoprune


class Classifier(nn.Module):
    """Byte ids (N, length) to logits (N, modules)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 48)
        self.recurrent = nn.LSTM(48, 96, batch_first=True)
        self.head = nn.Linear(96, len(MODULES))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.embed(ids))
        return self.head(states.amax(1))


def task() -> autoprune.Task:
    ids, labels = windows(length=48, stride=48)
    torch.manual_seed(0)
    made = autoprune.Classification(Classifier(), data=(ids, labels), example_inputs=ids[:16], name="lstm")
    train(made, epochs=8, rate=5e-3)
    return made
