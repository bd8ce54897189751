"""PyTorch on an NVIDIA card. Knows events, graphs and precisions; durations are the card's own, not this process's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.errors import DeviceError
from autoprune.profilers._host import refused
from autoprune.surgery import twin
from autoprune.surgery.example import Example, arrays

#: Runs between two moments at which the processor waits for the card.
_CHUNK: Final = 8
_WARM_RUNS: Final = 3


@dataclass(frozen=True)
class _Handle:
    run: Callable[[], Any]
    keep: Any


class CudaProfiler:
    """Runs a copy of the module on the card, as a CUDA graph where it can be captured, timed by events.

    cuda: what `torch.cuda` offers; device: where tensors go.
    """

    name = "cuda"

    def __init__(self, spec: RunSpec, clock: Clock, cuda: Any = torch.cuda, device: str = "cuda") -> None:
        if not cuda.is_available():
            raise DeviceError(
                expected="an NVIDIA device that torch can use",
                received="none",
                cure="install a CUDA build of torch and a driver, or use --profiler torch",
            )
        self._spec, self._cuda, self._device = spec, cuda, device

    def capabilities(self) -> Capabilities:
        return Capabilities(
            metrics=("latency", "throughput"),
            precisions=("float32", "bfloat16", "float16"),
            cpu_time=False,
            meter="nvidia",
        )

    def fingerprint(self) -> str:
        return f"{self._cuda.get_device_name()} / torch {torch.__version__} cuda"

    def prepare(self, artifact: Any, inputs: Any) -> _Handle:
        """Raises DeviceError where the model does not run on the card."""
        try:
            model = twin(artifact, meta=False)[0].eval().to(self._device)
            example = Example.of(inputs).fresh().map(lambda tensor: tensor.to(self._device))
            with self._running():
                for _ in range(_WARM_RUNS):
                    example.call(model)
                self._cuda.synchronize()
                return self._captured(model, example)
        except Exception as error:
            raise refused("torch on the NVIDIA device", error) from error

    def outputs(self, handle: _Handle, inputs: Any = None) -> list[Any]:
        with self._running():
            if inputs is None:
                out = handle.run()
            else:
                model, example = handle.keep[0], Example.of(inputs).fresh()
                out = example.map(lambda tensor: tensor.to(self._device)).call(model)
            self._cuda.synchronize()
        return arrays(out)

    def run_block(self, handle: _Handle, min_s: float, min_runs: int) -> Block:
        seconds: list[float] = []
        with self._running():
            while sum(seconds) < min_s or len(seconds) < min_runs:
                count = max(min(_CHUNK, min_runs - len(seconds)), 1) if min_s <= sum(seconds) else _CHUNK
                pairs = [tuple(self._cuda.Event(enable_timing=True) for _ in range(2)) for _ in range(count)]
                for begin, end in pairs:
                    begin.record()
                    handle.run()
                    end.record()
                self._cuda.synchronize()
                seconds += [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
        return Block(tuple(seconds), tuple(seconds))

    def release(self, handle: _Handle) -> None:
        del handle
        self._cuda.empty_cache()

    def close(self) -> None:
        pass

    def _captured(self, model: Any, example: Example) -> _Handle:
        """As a graph, which leaves the processor out of the measurement; what cannot be captured is called."""
        graph = self._cuda.CUDAGraph()
        try:
            with self._cuda.graph(graph):
                out = example.call(model)
        except RuntimeError:  # it waits for the card, or its work depends on its data
            self._cuda.synchronize()
            return _Handle(lambda: example.call(model), (model, example))

        def replay() -> Any:
            graph.replay()
            return out

        # The graph reads and writes the memory of both.
        return _Handle(replay, (model, example))

    @contextmanager
    def _running(self) -> Iterator[None]:
        low = self._spec.precision != "float32"
        kind = self._device.partition(":")[0]
        with (
            torch.no_grad(),
            torch.autocast(kind, getattr(torch, self._spec.precision), enabled=low, cache_enabled=False),
        ):
            yield


def create(spec: RunSpec, clock: Clock) -> CudaProfiler:
    return CudaProfiler(spec, clock)
