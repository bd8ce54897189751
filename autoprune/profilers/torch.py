"""PyTorch in eager mode on this machine's processor. Knows threads and modes; measures nothing but durations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.profilers._host import processor, refused, timed
from autoprune.surgery import twin
from autoprune.surgery.example import Example, arrays


@dataclass(frozen=True)
class Handle:
    """A module with the arguments of one call, and a copy of them that it may change."""

    model: nn.Module
    given: Example
    example: Example


class TorchProfiler:
    """Runs modules in eval mode without gradients, on a fixed number of threads that is given back afterwards."""

    name = "torch"

    def __init__(self, spec: RunSpec, clock: Clock) -> None:
        self._spec, self._clock = spec, clock

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput", "memory"), precisions=("float32", "bfloat16"))

    def fingerprint(self) -> str:
        return f"{processor()} / torch {torch.__version__} eager"

    def prepare(self, artifact: Any, inputs: Any) -> Handle:
        """A model that lies on another device is copied to the processor. Raises DeviceError where it does not run."""
        given = Example.of(inputs)
        if any(tensor.device.type != "cpu" for tensor in (*artifact.parameters(), *artifact.buffers())):
            artifact, given = twin(artifact, meta=False)[0].cpu(), given.map(Tensor.cpu)
        handle = Handle(self.made(artifact.eval()), given, given.fresh())
        try:
            with self._running():
                handle.example.call(handle.model)
        except Exception as error:
            raise refused(f"{self.name} on this processor", error) from error
        return handle

    def made(self, model: nn.Module) -> Any:
        """What is called in place of the module."""
        return model

    def outputs(self, handle: Handle, inputs: Any = None) -> list[Any]:
        example = handle.given if inputs is None else Example.of(inputs)
        with self._running():
            return arrays(example.fresh().call(handle.model))

    def run_block(self, handle: Handle, min_s: float, min_runs: int) -> Block:
        with self._running():
            return timed(lambda: handle.example.call(handle.model), self._clock, min_s, min_runs)

    def release(self, handle: Handle) -> None:
        del handle

    def close(self) -> None:
        pass

    @contextmanager
    def _running(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self._spec.threads)
        low = self._spec.precision != "float32"
        try:
            with torch.no_grad(), torch.autocast("cpu", getattr(torch, self._spec.precision), enabled=low):
                yield
        finally:
            torch.set_num_threads(before)


def create(spec: RunSpec, clock: Clock) -> TorchProfiler:
    return TorchProfiler(spec, clock)
