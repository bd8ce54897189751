"""What one model costs: measured where a setup says, and counted. Knows no other models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import nn

from autoprune.core.clock import Clock
from autoprune.core.measurement import FORWARD, WORKS, Measurement
from autoprune.core.metric import RELATIVE, MetricKey, Source
from autoprune.core.reporter import Reporter
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.counts import counts
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.devices import several
from autoprune.measure.setup import Setup
from autoprune.models.decoding import decodes
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating


def costs_of(model: nn.Module, inputs: Any, setup: Setup, reporter: Reporter, clock: Clock) -> dict[str, Measurement]:
    """Latency with its statistics, throughput, memory, energy where it is metered, parameters, operations, bytes; of a
    decoder also the times of a prompt and of a token.

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
    able = setup.capabilities(clock)
    setup = replace(setup, memory="memory" in able.metrics)
    works: Sequence[str] = WORKS if able.format == "module" and decodes(model, Example.of(inputs)) else (FORWARD,)
    setups = {Source(work=work): setup.at(work) for work in works}
    with evaluating(model), ExitStack() as closing:
        devices: dict[Source, AnyDevice] = {}
        for source, each in setups.items():
            spec = DeviceSpec(setup=each, dense=model, example_inputs=inputs, traced=None, seed=0, clock=clock)
            devices[source] = Device(spec, reporter)
            closing.callback(devices[source].close)
        device = several(devices, setups)
        measured = device.open()
        counted = counts(model, device.example)
    return {**{key: found for key, found in measured.items() if MetricKey.parse(key).here != RELATIVE}, **counted}
