"""PyTorch compiled by Inductor on this machine's processor. Knows that compiling needs a C++ compiler and seconds.

Each candidate is compiled anew, tens of seconds for a deep network: fit for few candidates, or to profile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from autoprune.core.clock import Clock
from autoprune.core.measurement import Capabilities, RunSpec
from autoprune.profilers._host import processor
from autoprune.profilers.torch import TorchProfiler


class TorchCompileProfiler(TorchProfiler):
    """As eager, through `torch.compile` with fixed shapes; weights are constants to the compiler where it can."""

    name = "torch-compile"

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput"), most_handles=4, patience=600.0)

    def fingerprint(self) -> str:
        return f"{processor()} / torch {torch.__version__} inductor"

    def made(self, model: nn.Module) -> Any:
        return torch.compile(model, dynamic=False, options={"freezing": True})


def create(spec: RunSpec, clock: Clock) -> TorchCompileProfiler:
    return TorchCompileProfiler(spec, clock)
