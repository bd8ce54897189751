"""A model as it is scored: as it will be run. Knows devices and precisions; not what scores it.

In float32 a bench holds each artifact against the model before it times it, so the model itself is scored. In any other
precision it is the artifact, in its runtime on this machine.
"""

from __future__ import annotations

from torch import nn

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import check_outputs
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import FULL
from autoprune.deployment.deployed import Deployed
from autoprune.measure.any_device import AnyDevice
from autoprune.profilers import Profiler
from autoprune.remote.packing import accepted
from autoprune.surgery.cut_model import CutModel


def as_run(cut: CutModel, device: AnyDevice) -> nn.Module:
    """The model as the device runs it, called as the torch model is.

    Args:
        cut: The model, in eval mode.
        device: That measures it; one that is open.

    Raises:
        DeviceError: its runtime is not on this machine, or cannot run it.
    """
    setup = device.setup
    precision = cut.plan.precision or setup.spec.precision
    if precision == FULL:
        return cut.model
    runtime: Profiler = setup.made(SystemClock())
    if device.capabilities.format == "module":
        return Deployed(runtime, cut.model, device.example, inputs=(), varies=("batch",), like=cut.model)

    def deployed(artifact: Artifact) -> nn.Module:
        names = tuple(artifact.inputs)
        found = Deployed(runtime, artifact.content, device.example, inputs=names, varies=(), like=cut.model)
        check_outputs(found.example_outputs(), artifact.expected, runtime.name, artifact.precision or precision)
        return found

    return accepted(device.packed(cut), deployed)
