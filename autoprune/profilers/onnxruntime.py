"""ONNX Runtime on this machine's processor. Knows sessions; neither torch nor where the graph came from."""

from __future__ import annotations

from dataclasses import dataclass
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
        return Capabilities(metrics=("latency", "throughput", "memory"), format="onnx")

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


def create(spec: RunSpec, clock: Clock) -> OnnxRuntimeProfiler:
    return OnnxRuntimeProfiler(spec, clock)
