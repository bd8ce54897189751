"""ExecuTorch with XNNPACK on this machine's processor. Knows how a module is lowered, which takes seconds a model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.errors import UsageError
from autoprune.profilers._host import needed, processor, refused, timed, version
from autoprune.surgery.example import Example, arrays

exir = needed("executorch.exir", "executorch")
xnnpack = needed("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")
runtime = needed("executorch.extension.pybindings.portable_lib", "executorch")


@dataclass(frozen=True)
class _Handle:
    content: bytes
    module: Any
    arguments: tuple[Any, ...]


class ExecuTorchProfiler:
    """Lowers each module anew: fit for few candidates, or to profile. A program that was lowered is run as it is."""

    name = "executorch"

    def __init__(self, spec: RunSpec, clock: Clock) -> None:
        self._spec, self._clock, self._threads = spec, clock, 0

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput"), patience=600.0)

    def fingerprint(self) -> str:
        return f"{processor()} / executorch {version('executorch')} xnnpack"

    def prepare(self, artifact: Any, inputs: Any) -> _Handle:
        """Raises DeviceError where the module cannot be lowered, UsageError where its inputs have names."""
        example = Example.of(inputs)
        if example.kwargs and not isinstance(artifact, bytes):
            raise UsageError(
                expected="example inputs in order", received="named ones", cure="give example_inputs as a tuple"
            )
        if self._threads != self._spec.threads:
            runtime._unsafe_reset_threadpool(self._spec.threads)
            self._threads = self._spec.threads
        try:
            content = artifact if isinstance(artifact, bytes) else _lowered(artifact, example)
            module = runtime._load_for_executorch_from_buffer(content)
            handle = _Handle(content, module, tuple(example.tensors))
            module.forward(handle.arguments)
        except Exception as error:
            raise refused("ExecuTorch", error) from error
        return handle

    def outputs(self, handle: _Handle, inputs: Any = None) -> list[Any]:
        arguments = handle.arguments if inputs is None else tuple(Example.of(inputs).tensors)
        return arrays(handle.module.forward(arguments))

    def run_block(self, handle: _Handle, min_s: float, min_runs: int) -> Block:
        return timed(lambda: handle.module.forward(handle.arguments), self._clock, min_s, min_runs)

    def release(self, handle: _Handle) -> None:
        del handle

    def close(self) -> None:
        pass


def _lowered(model: Any, example: Example) -> bytes:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model.eval(), example.args)
        lowered = exir.to_edge_transform_and_lower(exported, partitioner=[xnnpack.XnnpackPartitioner()])
        content: bytes = lowered.to_executorch().buffer
    return content


def create(spec: RunSpec, clock: Clock) -> ExecuTorchProfiler:
    return ExecuTorchProfiler(spec, clock)
