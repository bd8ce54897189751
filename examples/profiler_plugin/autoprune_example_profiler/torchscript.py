"""Frozen TorchScript on this machine's processor: `autoprune search --profiler torchscript`.

A profiler only prepares and runs. Pairing with a reference, statistics, waiting for a quiet machine, locks between
processes, isolation and the check of outputs are autoprune's.
"""

from __future__ import annotations

import platform
import time
from typing import Any

import torch

from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.errors import DeviceError


class TorchScriptProfiler:
    name = "torchscript"

    def __init__(self, spec: RunSpec, clock: Any) -> None:
        self._spec, self._clock = spec, clock

    def capabilities(self) -> Capabilities:
        return Capabilities(metrics=("latency", "throughput"), format="module")

    def fingerprint(self) -> str:
        """The device first: profilers of one device take turns."""
        return f"{platform.machine()} / torchscript {torch.__version__}"

    def prepare(self, artifact: Any, inputs: Any) -> Any:
        try:
            with torch.no_grad():
                traced = torch.jit.trace(artifact, inputs.args, check_trace=False)
                script = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
                script(*inputs.args)
        except Exception as error:
            raise DeviceError(
                expected="a model that torch.jit.trace can follow", received=str(error), cure="use --profiler torch"
            ) from error
        return script, inputs.args

    def outputs(self, handle: Any, inputs: Any = None) -> list[Any]:
        script, arguments = handle
        arguments = arguments if inputs is None else inputs.args
        with torch.no_grad():
            out = script(*arguments)
        return [each.numpy() for each in (out if isinstance(out, tuple) else (out,))]

    def run_block(self, handle: Any, min_s: float, min_runs: int) -> Block:
        script, arguments = handle
        torch.set_num_threads(self._spec.threads)
        wall, cpu = [], []
        with torch.no_grad():
            while sum(wall) < min_s or len(wall) < min_runs:
                start, used = self._clock.wall(), time.process_time()
                script(*arguments)
                wall.append(self._clock.wall() - start)
                cpu.append(time.process_time() - used)
        return Block(tuple(wall), tuple(cpu))

    def release(self, handle: Any) -> None:
        pass

    def close(self) -> None:
        pass


def create(spec: RunSpec, clock: Any) -> TorchScriptProfiler:
    return TorchScriptProfiler(spec, clock)
