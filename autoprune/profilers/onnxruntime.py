"""ONNX Runtime on this machine's processor. Knows sessions, and its tool for int8; neither torch nor where graphs are
from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.profilers._host import needed, processor, refused, timed, version

onnxruntime = needed("onnxruntime", "onnxruntime")


@dataclass(frozen=True)
class _Handle:
    session: Any
    inputs: dict[str, Any]


class OnnxRuntimeProfiler:
    """Runs ONNX graphs with all of the runtime's own optimisations, on a fixed number of threads."""

    name = "onnxruntime"

    def __init__(self, spec: RunSpec, clock: Clock) -> None:
        self._spec, self._clock = spec, clock

    def capabilities(self) -> Capabilities:
        metrics = ("latency", "throughput", "memory")
        return Capabilities(metrics=metrics, format="onnx", precisions=("float32", "int8"))

    def fingerprint(self) -> str:
        return f"{processor()} / onnxruntime {version('onnxruntime')}"

    def prepare(self, artifact: bytes, inputs: dict[str, Any]) -> _Handle:
        """Raises DeviceError where the runtime refuses the graph or the inputs."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._spec.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Threads that wait by spinning would disturb what is measured beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
            known = {each.name for each in session.get_inputs()}
            handle = _Handle(session, {name: array for name, array in inputs.items() if name in known})
            session.run(None, handle.inputs)
        except Exception as error:
            raise refused("ONNX Runtime", error) from error
        return handle

    def outputs(self, handle: _Handle, inputs: dict[str, Any] | None = None) -> list[Any]:
        given = handle.inputs if inputs is None else {name: inputs[name] for name in handle.inputs}
        return list(handle.session.run(None, given))

    def run_block(self, handle: _Handle, min_s: float, min_runs: int) -> Block:
        return timed(lambda: handle.session.run(None, handle.inputs), self._clock, min_s, min_runs)

    def release(self, handle: _Handle) -> None:
        del handle

    def close(self) -> None:
        pass


def quantised(content: bytes, samples: Sequence[Mapping[str, Any]]) -> bytes:
    """The graph in int8, by the runtime's own static quantisation (QDQ): weights channel by channel, activations by the
    smallest and the largest that the samples show, unsigned, as the fastest kernels take them.

    Args:
        content: A graph in float32.
        samples: Inputs by name.

    Raises:
        DeviceError: the tool is missing, or refuses the graph.
    """
    quantisation = needed("onnxruntime.quantization", "onnxruntime")
    with TemporaryDirectory(prefix="autoprune-") as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        try:
            _fused(content, plain)
            with _silent():
                quantisation.quantize_static(
                    plain,
                    made,
                    _reader(quantisation, samples),
                    quant_format=quantisation.QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=quantisation.QuantType.QUInt8,
                    weight_type=quantisation.QuantType.QInt8,
                )
        except Exception as error:
            raise refused("ONNX Runtime, in int8", error) from error
        return made.read_bytes()


def _fused(content: bytes, path: Path) -> None:
    """Write the graph with what is one operation in int8 put together, such as a convolution and its normalisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _reader(quantisation: Any, samples: Sequence[Mapping[str, Any]]) -> Any:
    left = iter(samples)
    return type("Reader", (quantisation.CalibrationDataReader,), {"get_next": lambda self: next(left, None)})()


@contextmanager
def _silent() -> Iterator[None]:
    """Without the tool's advice, which it gives on the root logger: it is followed, or does not concern the user."""
    root, keeper = logging.getLogger(), logging.NullHandler()  # with no handler, it would install one

    def others(record: logging.LogRecord) -> bool:
        return "quantization" not in record.pathname

    root.addHandler(keeper)
    root.addFilter(others)
    try:
        yield
    finally:
        root.removeFilter(others)
        root.removeHandler(keeper)


def create(spec: RunSpec, clock: Clock) -> OnnxRuntimeProfiler:
    return OnnxRuntimeProfiler(spec, clock)
