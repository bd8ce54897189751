"""What one model costs: measured where a setup says, and counted. Knows no other models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from autoprune.core.clock import Clock
from autoprune.core.measurement import Measurement
from autoprune.core.metric import RELATIVE
from autoprune.core.reporter import Reporter
from autoprune.measure.counts import counts
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.setup import Setup
from autoprune.surgery.modes import evaluating


def costs_of(model: nn.Module, inputs: Any, setup: Setup, reporter: Reporter, clock: Clock) -> dict[str, Measurement]:
    """Latency with its statistics, throughput, memory, energy where it is metered, parameters, operations, bytes.

    Args:
        model: In any mode; it is measured in eval mode.
        inputs: Of one forward pass.
        setup: What runs it, how and where.
        reporter: Told of warnings and progress.
        clock: Tells seconds.

    Returns:
        Measurements by key.

    Raises:
        UsageError: an unknown profiler, or one that cannot have this model there.
        DeviceError: it cannot run the model.
    """
    setup = replace(setup, memory="memory" in setup.capabilities(clock).metrics)
    with evaluating(model):
        spec = DeviceSpec(setup=setup, dense=model, example_inputs=inputs, traced=None, seed=0, clock=clock)
        device = Device(spec, reporter)
        try:
            measured = device.open()
        finally:
            device.close()
        counted = counts(model, device.example)
    return {**{key: found for key, found in measured.items() if key != str(RELATIVE)}, **counted}
