"""PyTorch in eager mode on this machine's processor. Knows threads, warm-up and process counters."""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.errors import DeviceError, describe
from autoprune.surgery.example import Example

_WARMUP_S: Final = 0.1
_WARMUP_RUNS: Final = 5


@dataclass(frozen=True)
class _Handle:
    model: nn.Module
    example: Example


class TorchProfiler:
    """Runs modules in eval mode without gradients, on a fixed number of threads that is given back afterwards."""

    name = "torch"

    def __init__(self, spec: RunSpec, clock: Clock) -> None:
        self._spec, self._clock = spec, clock

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput"), formats=("module",))

    def fingerprint(self) -> str:
        return f"{processor()} / torch {torch.__version__} eager"

    def prepare(self, artifact: Any, example_inputs: Any) -> _Handle:
        """Raises DeviceError where the model is not on this processor, or does not run on the inputs."""
        places = {str(parameter.device) for parameter in artifact.parameters()} - {"cpu"}
        if places:
            raise DeviceError(
                expected="a model on the processor",
                received=f"one on {min(places)}",
                cure="call model.cpu() in the task",
            )
        handle = _Handle(artifact.eval(), Example.of(example_inputs))
        try:
            self.run_block(handle, _WARMUP_S, _WARMUP_RUNS)
        except Exception as error:
            raise DeviceError(
                expected="the model to run in eager PyTorch",
                received=describe(error),
                cure="run it on its example inputs alone",
            ) from error
        return handle

    def run_block(self, handle: _Handle, min_s: float, min_runs: int) -> Block:
        wall: list[float] = []
        cpu: list[float] = []
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        with torch.no_grad(), _threads(self._spec.threads):
            begin = end = self._clock.wall()
            while end - begin < min_s or len(wall) < min_runs:
                start, used = self._clock.wall(), self._clock.cpu()
                handle.example.call(handle.model)
                end = self._clock.wall()
                wall.append(end - start)
                cpu.append(self._clock.cpu() - used)
        return Block(tuple(wall), tuple(cpu), resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches)

    def release(self, handle: _Handle) -> None:
        del handle

    def close(self) -> None:
        pass


def create(spec: RunSpec, clock: Clock) -> TorchProfiler:
    return TorchProfiler(spec, clock)


def processor() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
