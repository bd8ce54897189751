"""Tracing small models takes no longer than it must."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import autoprune
from autoprune.surgery.labels import Atom, atoms, cut, split

FIRST = """
import sys, torch, autoprune
from torch import nn
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
autoprune.trace, autoprune.prune
before = set(sys.modules)
assert len(autoprune.trace(model, torch.randn(4, 8)).open) == 2
autoprune.prune(model, torch.randn(4, 8), 0.5)
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.mark.slow
def test_the_first_trace_of_a_process_imports_no_compiler():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert not {"sympy", "mpmath", "einops"} & set(done.stdout.split())


class Recurrent(nn.Module):
    """Written out step by step."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        x = self.inner(x)
        state, states = torch.zeros_like(x[:, 0]), torch.zeros_like(x)
        for step in range(x.shape[1]):
            state = torch.tanh(x[:, step] + self.outer(state))
            states[:, step] = state
        return self.head(states)


def test_a_loop_over_time_is_cut():
    model, x = Recurrent().eval(), torch.randn(2, 100, 8)
    pruned = autoprune.prune(model, x, 0.5)
    assert len(pruned.traced.open) == 1
    assert pruned.model(x).shape == (2, 100, 3)
    assert pruned.after["params"].value < 0.5 * pruned.before["params"].value


def test_what_stays_whole_has_no_parts_that_somebody_must_walk_through():
    steps = Atom(1000, "model input")
    for place in range(1, 1000):
        cut(steps, place)
    split(steps, 10)
    assert list(atoms(steps)) == [steps]


class Late:
    """A clock on which everything takes three seconds."""

    def __init__(self):
        self.now = 0.0

    def wall(self):
        self.now += 3
        return self.now


class Told:
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_what_takes_long_is_said_when_it_does():
    model, x, told = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3)), torch.randn(4, 8), Told()
    autoprune.trace(model, x, reporter=told, clock=Late())
    assert "for 6 s so far: proof 1 of 3" in told.notes[0]
    told.notes.clear()
    autoprune.trace(model, x, reporter=told)
    assert not told.notes
