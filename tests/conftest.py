"""Shared pieces: a small trained task, the real command line, a cache of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import autoprune
from autoprune.cli import main
from autoprune.measure import limits
from tests.hurried import LIMITS

ROOT = Path(__file__).parents[1]
#: The real command line in a process of its own.
COMMAND = (sys.executable, str(ROOT / "tests" / "hurried.py"))


def pytest_configure():
    """Shells start background jobs with SIGINT ignored, and programs started by a test would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(tmp_path):
    """Run the real command line in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments, env=None, timeout=240):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env={**os.environ, **(env or {})}, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def hurried(monkeypatch):
    """Measuring in this process is soon content; see `tests/hurried.py`."""
    monkeypatch.setattr(limits, "USUAL", LIMITS)


@pytest.fixture
def told(capsys, hurried):
    """Run the command line in this process, without seconds of imports: (exit code, stdout, stderr)."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv3(torch.relu(self.bn2(self.conv2(x)))) + x)
        return self.head(x.mean((2, 3)))


def stripes(count=200, seed=0):
    """Images (N, 1, 8, 8) of horizontal, vertical or no stripes, with noise; labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    images = 0.3 * torch.randn(count, 1, 8, 8, generator=generator)
    images[labels == 0, :, ::2] += 1
    images[labels == 1, :, :, ::2] += 1
    return images, labels


@pytest.fixture
def small_task(hurried):
    torch.manual_seed(0)
    images, labels = stripes()
    return autoprune.Classification(
        SmallNet().eval(), data=(images, labels), example_inputs=(images[:4],), name="stripes"
    )
