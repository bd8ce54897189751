"""OpenVINO on this machine's processor. Knows compiled models, and NNCF for int8; neither torch nor where graphs are
from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.profilers._host import needed, processor, refused, timed, version

openvino = needed("openvino", "openvino")

#: What the text of OpenVINO's own files ends with.
_TEXT_ENDS: Final = b"</net>\n"
#: What is left of a graph in int8 computes in float32.
_PRECISIONS: Final = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


@dataclass(frozen=True)
class _Handle:
    request: Any
    names: dict[str, Any]


class OpenVinoProfiler:
    """Runs ONNX graphs and its own files, one synchronous request after the other, on a fixed number of threads."""

    name = "openvino"

    def __init__(self, spec: RunSpec, clock: Clock) -> None:
        self._spec, self._clock = spec, clock
        self._core = openvino.Core()

    def capabilities(self) -> Capabilities:
        # Its threads are its own: they work while the caller's waits, and processor time counts them all.
        return Capabilities(metrics=("latency", "throughput", "memory"), format="onnx", precisions=tuple(_PRECISIONS))

    def fingerprint(self) -> str:
        return f"{processor()} / openvino {version('openvino')}"

    def prepare(self, artifact: bytes, inputs: dict[str, Any]) -> _Handle:
        """Raises DeviceError where the runtime refuses the graph or the inputs."""
        settings = {
            "INFERENCE_NUM_THREADS": self._spec.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._spec.precision],
        }
        try:
            compiled = self._core.compile_model(self._core.read_model(*_parts(artifact)), "CPU", settings)
            names = {next(name for name in port.get_names() if name in inputs): port for port in compiled.inputs}
            handle = _Handle(compiled.create_infer_request(), names)
            _give(handle, inputs)
            handle.request.infer()
        except Exception as error:
            raise refused("OpenVINO", error) from error
        return handle

    def outputs(self, handle: _Handle, inputs: dict[str, Any] | None = None) -> list[Any]:
        if inputs is not None:
            _give(handle, inputs)
        handle.request.infer()
        return [tensor.data.copy() for tensor in handle.request.output_tensors]

    def run_block(self, handle: _Handle, min_s: float, min_runs: int) -> Block:
        return timed(handle.request.infer, self._clock, min_s, min_runs)

    def release(self, handle: _Handle) -> None:
        del handle

    def close(self) -> None:
        pass


def quantised(content: bytes, samples: Sequence[Mapping[str, Any]]) -> bytes:
    """The graph in int8, by NNCF's quantisation after training with its own settings; it stays an ONNX graph.

    Args:
        content: A graph in float32.
        samples: Inputs by name.

    Raises:
        DeviceError: NNCF is missing, or refuses the graph.
    """
    with _untold():
        nncf = needed("nncf", "openvino", extra="nncf")
    onnx = needed("onnx", "openvino")
    try:
        with _silent(nncf):
            made = nncf.quantize(onnx.load_from_string(content), nncf.Dataset(samples), subset_size=len(samples))
    except Exception as error:
        raise refused("OpenVINO, in int8 by NNCF", error) from error
    return bytes(made.SerializeToString())


@contextmanager
def _untold() -> Iterator[None]:
    """NNCF tells its makers what it is used for, unless this stands in the environment while it is imported."""
    name = "NNCF_CI"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextmanager
def _silent(nncf: Any) -> Iterator[None]:
    """Without the tool's bars and advice, which go to the standard output."""
    logger, before = nncf.nncf_logger, nncf.nncf_logger.disabled
    logger.disabled = True
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.disabled = before


def _give(handle: _Handle, inputs: dict[str, Any]) -> None:
    for name, port in handle.names.items():
        handle.request.set_tensor(port, openvino.Tensor(inputs[name].copy()))


def _parts(artifact: bytes) -> tuple[bytes, ...]:
    """An ONNX graph as it is; of OpenVINO's own files the text, and the weights that follow it."""
    if not artifact.lstrip().startswith(b"<?xml"):
        return (artifact,)
    text, end, weights = artifact.partition(_TEXT_ENDS)
    return text + end, weights


def create(spec: RunSpec, clock: Clock) -> OpenVinoProfiler:
    return OpenVinoProfiler(spec, clock)
