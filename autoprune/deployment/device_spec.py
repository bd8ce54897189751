"""What a device is made of, from a task. Knows which precisions need the calibration split; not what is measured."""

from __future__ import annotations

from autoprune.core.clock import Clock
from autoprune.deployment.calibration import calibration_inputs
from autoprune.measure.device import DeviceSpec, Forecaster
from autoprune.measure.setup import Setup
from autoprune.surgery import Traced
from autoprune.tasks.task import Task, rebatch


def device_spec(
    task: Task, traced: Traced, setup: Setup, *, seed: int, clock: Clock, forecast: Forecaster | None = None
) -> DeviceSpec:
    """The device of a setup, for models that are cut from a task's; see `DeviceSpec`.

    Raises:
        DeviceError: models are quantised, and nothing on the calibration split has the example's shapes.
    """
    return DeviceSpec(
        setup=setup,
        dense=task.model,
        example_inputs=task.example_inputs,
        traced=traced,
        seed=seed,
        clock=clock,
        forecast=forecast,
        samples=calibration_inputs(task, rebatch(task.example_inputs, setup.spec.batch)) if setup.quantises else (),
    )
